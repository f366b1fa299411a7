"""Starts a command that outlives the connection it was started through; stands alone, for machines reached by SSH.

    python3 launch.py FOLDER ENVIRONMENT-AS-JSON ARGV...

FOLDER gets stdout, stderr, pid and, in the end, exit. The command leads a session of its own; its number is printed.
"""

import json
import os
import sys


def main(folder: str, environment: str, argv: list[str]) -> None:
    """Fork a guard that starts the command and waits for it; print the command's process number."""
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - pathlib would double the time that this script takes
    os.chdir(folder)
    if os.path.exists("exit"):  # noqa: PTH110
        os.unlink("exit")  # noqa: PTH108
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        guard(json.loads(environment), argv, writing)
    os.close(writing)
    sys.stdout.write(os.read(reading, 64).decode())


def guard(environment: dict[str, str], argv: list[str], writing: int) -> None:
    """Be the parent of the command, cut off from the connection; never returns."""
    os.setsid()
    redirect("/dev/null", "/dev/null")
    pid = os.fork()
    if pid == 0:
        os.close(writing)
        become(environment, argv)
    write("pid", pid)
    os.write(writing, str(pid).encode())
    os.close(writing)
    write("exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def become(environment: dict[str, str], argv: list[str]) -> None:
    """Be the command; never returns."""
    os.setsid()
    redirect("stdout", "stderr")
    try:
        os.execvpe(argv[0], argv, {**os.environ, **environment})
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127)


def redirect(stdout: str, stderr: str) -> None:
    """Read nothing and write into these files."""
    for name, flags, number in (("/dev/null", os.O_RDONLY, 0), (stdout, os.O_WRONLY, 1), (stderr, os.O_WRONLY, 2)):
        fd = os.open(name, flags | (os.O_CREAT | os.O_TRUNC if flags else 0), 0o644)
        os.dup2(fd, number)
        os.close(fd)


def write(name: str, number: int) -> None:
    """Write a file in one step, so that nobody reads half of it."""
    with open("." + name, "w") as file:  # noqa: PTH123
        file.write(f"{number}\n")
    os.rename("." + name, name)  # noqa: PTH104


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
