import os

import psutil

from trainer import embedded
from trainer.client import Client


def _answered(url: str) -> bool:
    with Client(url, patience=60) as client:
        from shared.spec import StreamSpec

        return len(list(client.stream(StreamSpec(operation="add", dim=2), 0, "train", 0, 5))) == 1


def test_a_generator_that_cannot_be_started_again_at_once_is_later(monkeypatch, caplog):
    with embedded.embedded_generator() as url:
        begin, failed = embedded.subprocess.Popen, []

        def no_memory(*arguments: object, **how: object) -> object:
            if not failed:
                failed.append(True)
                raise OSError(12, "Cannot allocate memory")
            return begin(*arguments, **how)

        before = len(os.listdir("/proc/self/fd"))
        monkeypatch.setattr(embedded.subprocess, "Popen", no_memory)
        for child in psutil.Process().children():
            if "--embedded" in child.cmdline():
                child.kill()
        assert _answered(url)
        assert failed
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    assert "cannot be started: Cannot allocate memory" in caplog.text


def test_a_signal_to_all_processes_of_a_terminal_reaches_the_trainer_alone():
    with embedded.embedded_generator():
        [child] = [each for each in psutil.Process().children() if "--embedded" in each.cmdline()]
        assert os.getsid(child.pid) == child.pid != os.getsid(0)
        assert os.getpgid(child.pid) != os.getpgid(0)
