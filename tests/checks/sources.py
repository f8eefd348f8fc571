# SPDX-License-Identifier: Apache-2.0
"""What the checks have in common: the files of the project, and C without comments and strings."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def project_files():
    """Paths from the root of all files that are, or would be, under version control."""
    try:
        listed = subprocess.run(
            ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True,
            capture_output=True,
        ).stdout.decode()
        files = [name for name in listed.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        files = []
        for folder, folders, names in os.walk(ROOT):
            folders[:] = [name for name in folders if not re.match(r"build|\.git$|\.quickstart$|__pycache__$", name)]
            files += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return sorted(name for name in files if os.path.isfile(os.path.join(ROOT, name)))


def c_files(*folders):
    """C sources and headers, below the given folders or all."""
    return [
        name
        for name in project_files()
        if name.endswith((".c", ".h")) and (not folders or name.startswith(tuple(f + "/" for f in folders)))
    ]


def read_text(name):
    with open(os.path.join(ROOT, name), encoding="utf-8", errors="replace") as file:
        return file.read()


_TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def _blank(match):
    text = match.group(0)
    newlines = "\n" * text.count("\n")
    if text[0] == "/":
        return " " + newlines
    return text[0] + newlines + text[0]


def code_of(name):
    """The text of a C file with comments and the insides of strings taken out; line numbers stay."""
    return _TOKEN.sub(_blank, read_text(name))


def includes_of(name):
    """(line number, "path" or <path> without its marks, is_quoted) of each #include."""
    found = []
    for number, line in enumerate(read_text(name).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            found.append((number, match.group(2), match.group(1) == '"'))
    return found


def report(complaints, what):
    """Prints the complaints and ends the program: status 1 when there are any."""
    for complaint in complaints:
        print(complaint)
    print(f"{what}: {len(complaints)} complaint{'s' if len(complaints) != 1 else ''}")
    sys.exit(1 if complaints else 0)
