"""A process for tests that pays a project's people by a platform and is killed at a line of it.

Started as `python -m tests.paying_process SLUG URL LINE`.
"""

import os
import signal
import sys


def main(slug: str, url: str, line: int) -> None:
    """Pay, and die at the line of this number."""
    import django

    django.setup()
    from annotation.models import Project
    from tests.bonus_server import BonusServer
    from tests.paying import channel_at, killed_at, pay_by_platform

    project = Project.objects.get(slug=slug)
    channel = channel_at(url, BonusServer.study_id, project)
    with killed_at(line, BonusServer(set()), end=lambda _here: os.kill(os.getpid(), signal.SIGKILL)):
        pay_by_platform(project, channel)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
