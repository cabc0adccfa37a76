// What scrolls is reached by keyboard, also where it was just unfolded.
(() => {
  "use strict";
  const reach = () => document.querySelectorAll(".scroll").forEach((box) => {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
  });
  addEventListener("load", reach); addEventListener("resize", reach); document.addEventListener("toggle", reach, true);
})();
