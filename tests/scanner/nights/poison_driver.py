"""Run a night whose decoder dies of some pictures; run by test_quarantine.py as a process, and imported by its children.

    python poison_driver.py FOLDER

POISON maps ids of items to what happens on them: kill, hang or raise.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import scanner.pipeline
from scanner.images import decode_item
from scanner.nights import quarantine, take
from scanner.records import Item

POISON = json.loads(os.environ["POISON"])
scanner.pipeline.SHARD_ENTRIES = take.SHARD_ENTRIES = 4
quarantine.ENTRY_S = 4.0


def decode(item: Item, **options: Any) -> Any:
    what = POISON.get(item.item_id)
    if what == "hang" and multiprocessing.parent_process() is not None:
        time.sleep(1000)
    if what in ("kill", "hang"):  # whoever waits for a night that hangs kills it in the end
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "raise":
        raise ZeroDivisionError
    return decode_item(item, **options)


scanner.pipeline.decode_item = decode

if __name__ == "__main__":
    from small_job import night

    print(json.dumps(night(Path(sys.argv[1])).account))
