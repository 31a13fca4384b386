"""Who holds apt's lock, as apt itself says it."""

import pytest

from sipstack.operations.packages import lock_holder


@pytest.mark.parametrize(
    ("said", "holder"),
    [
        # apt 3.0 (Debian 13), 2.6 (12), and one that may not look at the process.
        (
            "Error: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)\n"
            "Notice: Be aware that removing the lock file is not a solution and may break your system.",
            "unattended-upgr (pid 812)",
        ),
        ("E: Could not get lock /var/lib/apt/lists/lock. It is held by process 9 (apt-get)", "apt-get (pid 9)"),
        ("E: Could not get lock /var/lib/dpkg/lock. It is held by process 9", "another program (pid 9)"),
        ("E: Unable to lock directory /var/lib/apt/lists/", "another program"),
        ("E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another process using it?",
         "another program"),
        ("E: Unable to locate package docker.io", ""),
        ("E: Failed to fetch http://mirror.invalid/x  404  Not Found", ""),
    ],
)  # fmt: skip
def test_who_holds_the_lock(said: str, holder: str) -> None:
    assert lock_holder(said) == holder
