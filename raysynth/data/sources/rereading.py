"""Reading again where a read failed for a moment: a network share, an object store, a disk that answers late."""

from __future__ import annotations

import errno
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

PAUSES = (0.3, 1.0, 3.0)  # seconds before each further try
_LASTING = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG}

_logger = logging.getLogger("raysynth")


def read_again(read: Callable[[], Iterator[T]], *, is_local: bool) -> Iterator[T]:
    """What `read()` gives, each part once and in order, though some tries end in an error that passes.

    Args:
        read: begins anew; gives the same parts whenever it is called.
        is_local: an error without a number is then the file's own fault (damaged), not the storage's.

    Raises:
        OSError: the last one, where it lasts.
    """
    given = 0
    pauses = iter(PAUSES)
    while True:
        try:
            for part in itertools.islice(read(), given, None):
                yield part
                given, pauses = given + 1, iter(PAUSES)
            return
        except OSError as error:
            pause = None if _lasts(error, is_local) else next(pauses, None)
            if pause is None:
                raise
            _logger.warning("a read failed (%s); it is tried again", str(error).splitlines()[0])
            time.sleep(pause)


def _lasts(error: OSError, is_local: bool) -> bool:
    return is_local if error.errno is None else error.errno in _LASTING
