import os
import threading

import psutil
import pytest

from matstream.shared.spec import StreamSpec
from matstream.trainer.client import embedded, stream

SPEC = StreamSpec(operation="add", dim=2)


def test_a_generator_that_cannot_be_started_again_at_once_is_later(monkeypatch, caplog):
    with embedded.embedded_generator() as url:
        begin, failed = embedded.subprocess.Popen, []

        def no_memory(*arguments: object, **how: object) -> object:
            if not failed:
                failed.append(True)
                raise OSError(12, "Cannot allocate memory")
            return begin(*arguments, **how)

        monkeypatch.setattr(embedded.subprocess, "Popen", no_memory)
        for child in psutil.Process().children():
            if "--embedded" in child.cmdline():
                child.kill()
        assert len(list(stream(url, SPEC, 0, "train", 0, 5, patience=60))) == 1
        assert failed
    assert "cannot be started: Cannot allocate memory" in caplog.text


def test_a_start_that_fails_leaves_no_file_open(monkeypatch):
    def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(embedded.subprocess, "Popen", no_memory)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="Cannot allocate"):
        embedded._start(0, (), threading.Event())
    assert os.listdir("/proc/self/fd") == before


def test_a_signal_to_all_processes_of_a_terminal_reaches_the_trainer_alone():
    with embedded.embedded_generator():
        [child] = [each for each in psutil.Process().children() if "--embedded" in each.cmdline()]
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        assert os.getpgid(child.pid) != os.getpgid(0)
