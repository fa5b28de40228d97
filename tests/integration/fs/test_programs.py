"""Real programs on a real mount, each with its own way of checking that nothing was lost."""

import hashlib
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.integration.fs.mounted import need_programs


def _run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _contents(top: Path) -> dict[str, str]:
    """Each file below, by relative name: a digest, or where a symbolic link points."""
    return {
        str(path.relative_to(top)): str(path.readlink())
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in top.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _make_tree(top: Path, files: int) -> None:
    """A tree of small files, some executable, some large, some links."""
    for number in range(files):
        path = top / f"dir{number % 7}" / f"sub{number % 3}" / f"file{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(
            f"contents of {number}\n".encode() * (number % 50 + 1) * (200 if number % 40 == 0 else 1)
        )
        if number % 10 == 0:
            path.chmod(0o755)
        if number % 25 == 0 and not path.with_name(f"link{number}").is_symlink():
            path.with_name(f"link{number}").symlink_to(path.name)


def test_git_clone_repack_and_fsck(here: Path, tmp_path: Path) -> None:
    """A repository cloned onto the volume passes `git fsck --strict` before and after gc, and its tree is clean."""
    need_programs("git")
    origin = tmp_path / "origin"
    origin.mkdir()
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "gc.auto=0")
    _run(*git, "init", "-q", cwd=origin)
    for commit in range(5):
        _make_tree(origin, 60 + commit * 10)
        (origin / "changing").write_text(f"{commit}\n" * 1000)
        _run(*git, "add", "-A", cwd=origin)
        _run(*git, "commit", "-q", "-m", f"commit {commit}", cwd=origin)
    _run(*git, "clone", "-q", "--no-local", str(origin), "clone", cwd=here)
    clone = here / "clone"
    _run(*git, "fsck", "--strict", "--full", cwd=clone)
    _run(*git, "gc", "-q", "--aggressive", cwd=clone)
    _run(*git, "fsck", "--strict", "--full", cwd=clone)
    assert _run(*git, "status", "--porcelain", cwd=clone) == ""
    for name in ("HEAD", "HEAD~4^{tree}"):
        assert _run(*git, "rev-parse", name, cwd=clone) == _run(*git, "rev-parse", name, cwd=origin)


def test_sqlite_under_concurrent_writers(here: Path) -> None:
    """Four processes commit rows to one database, by rollback journal and by write-ahead log; none is lost."""
    for mode in ("delete", "wal"):
        path = here / f"{mode}.db"
        with sqlite3.connect(path) as database:
            assert database.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
            database.execute("create table row (writer text, number integer, filler blob)")
        database.close()
        program = (
            "import sqlite3,sys\ndb=sqlite3.connect(sys.argv[1],timeout=60)\n"
            "for n in range(40):\n"
            "  with db: db.execute('insert into row values (?,?,randomblob(2000))',(sys.argv[2],n))"
        )
        writers = [subprocess.Popen([sys.executable, "-c", program, str(path), writer]) for writer in "abcd"]
        assert [writer.wait(100) for writer in writers] == [0, 0, 0, 0]
        database = sqlite3.connect(path)
        try:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)
            rows = database.execute("select writer, number from row").fetchall()
        finally:
            database.close()
        assert sorted(rows) == [(writer, number) for writer in "abcd" for number in range(40)]


def test_tar_there_and_back(here: Path, tmp_path: Path) -> None:
    """A tree unpacked onto the volume and packed there again is the same: names, contents, modes, times, links."""
    need_programs("tar")
    tree = tmp_path / "tree"
    tree.mkdir()
    _make_tree(tree, 300)
    (tree / "hard").hardlink_to(tree / "dir0/sub0/file0")
    _run("tar", "-cf", str(tmp_path / "there.tar"), "tree", cwd=tmp_path)
    _run("tar", "-xpf", str(tmp_path / "there.tar"), cwd=here)
    _run("tar", "--compare", "-f", str(tmp_path / "there.tar"), cwd=here)
    _run("tar", "-cf", "back.tar", "tree", cwd=here)
    assert _contents(here / "tree") == _contents(tree)

    def catalogue(path: Path) -> list[tuple[object, ...]]:
        with tarfile.open(path) as archive:
            members = archive.getmembers()
        return sorted(
            (m.name, m.type in (tarfile.REGTYPE, tarfile.LNKTYPE), m.mode, m.uid, m.mtime) for m in members
        )

    assert catalogue(here / "back.tar") == catalogue(tmp_path / "there.tar")


def test_fio_verifies_what_it_wrote(here: Path) -> None:
    """fio's own checksums hold for random writes by several jobs, buffered, mapped and direct."""
    need_programs("fio")
    for engine, direct in (("psync", 0), ("mmap", 0), ("psync", 1)):
        _run(
            *(
                "fio",
                "--name=verify",
                f"--directory={here}",
                "--size=1M",
                "--bs=4k",
                "--rw=randrw",
                "--numjobs=2",
            ),
            *(
                f"--ioengine={engine}",
                f"--direct={direct}",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--do_verify=1",
            ),
            *("--fallocate=none", "--group_reporting", "--output-format=terse", "--fsync=64", "--unlink=1"),
            cwd=here,
        )


def test_many_small_files(here: Path) -> None:
    """Four hundred files in one directory, made, listed, read, and removed by the shell's tools."""
    _run("sh", "-c", "seq 400 | while read n; do echo $n > f$n; done", cwd=here)
    assert _run("sh", "-c", "ls | wc -l", cwd=here).strip() == "400"
    assert _run("sh", "-c", "cat f* | sort -n | tail -1", cwd=here).strip() == "400"
    _run("cp", "-a", ".", "../copied", cwd=here)
    _run("diff", "-r", ".", "../copied", cwd=here)
    _run("rm", "-r", "../copied", cwd=here)
    _run("sh", "-c", "rm f*", cwd=here)
    assert list(here.iterdir()) == []


def test_a_program_is_compiled_and_runs_from_the_volume(here: Path) -> None:
    """Python byte-compiles a package on the volume and imports it from there."""
    (here / "package").mkdir()
    (here / "package/__init__.py").write_text("ANSWER = 42\n")
    _run(sys.executable, "-m", "compileall", "-q", "package", cwd=here)
    assert _run(sys.executable, "-c", "import package; print(package.ANSWER)", cwd=here).strip() == "42"
    assert list((here / "package/__pycache__").iterdir())
