"""Loss curves on disk: one file of TensorBoard events, labelled private, and where a fit puts them."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event

from raysynth.training.checkpoints import FOLDER, LABEL, CurveFolder, _writer


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, name, value) of every scalar; a record is length, checksum, content, checksum."""
    found = []
    for path in (folder / FOLDER).glob("events*"):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(event.step, v.tag, round(v.simple_value, 4)) for v in event.summary.value]
            data = data[16 + length :]
    return found


def test_every_epoch_is_in_one_file_labelled_private(tmp_path: Path) -> None:
    curves = CurveFolder(tmp_path)
    curves.write({"epoch": 1, "loss": 2.5, "seconds": 0.5})
    curves.write({"epoch": 2, "loss": 1.5, "seconds": 0.25})
    _writer(str(tmp_path / FOLDER)).close()  # waits for the writer's thread
    assert events(tmp_path) == [(1, "loss", 2.5), (1, "seconds", 0.5), (2, "loss", 1.5), (2, "seconds", 0.25)]
    assert len(list((tmp_path / FOLDER).glob("events*"))) == 1
    assert (tmp_path / FOLDER / LABEL).read_text(encoding="utf-8").startswith("private")
