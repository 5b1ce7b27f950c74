"""Grading of exercise notebooks: python -m mpqlib grade *.ipynb

Each submission runs in a process and a temporary folder of its own, with limits on time, memory and output.
Of a notebook, only the cells that answer an exercise run, with the cells that they need.
Only the functions and values handed to `check` count, never what the notebook prints.

This is no sandbox.  It protects the grading from mistakes, such as endless loops and full memories.
A submission still runs with your rights: it can read your files, write wherever you can, and use the network.
Grade people you do not know in a container (see the page "Grading and editions" of the book).
"""

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from symtable import symtable
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Literal

from tyro.conf import Positional

from mpqlib import exercises
from mpqlib.exercises import Result

MIME = "application/vnd.mpqlib.verdict+json"
TOKEN = "MPQLIB_SUBMISSION"  # in the environment of everything that a submission starts
STARTING = 60  # s that a submission may take besides its cells and checks
CHECK = re.compile(r"""\bcheck\(\s*["']([\w-]+)["']""")
PREPARE = """import mpqlib.exercises, mpqlib.grading
mpqlib.exercises.check = mpqlib.grading._record
mpqlib.grading._limit_output(1000 * {output_kb})
mpqlib.exercises.exercises();"""
STOPPED = {"time": "it ran longer than {seconds:g} s and was stopped",
           "output": "it printed more than {output_kb} kB and was stopped",
           "crash": "it ended the Python process"}


def grade(notebooks: Positional[tuple[Path, ...]], handed_out: Path | None = None, out: Path | None = None,
          format: Literal["text", "json", "gradescope"] = "text", seconds: float = 30, memory_mb: int = 2048,
          output_kb: int = 1000, jobs: int = 2) -> str:
    """Grade notebooks: points and a diagnosis for each exercise that has an automatic check.

    No sandbox: a submission runs with your rights, as if you had opened and run it.
    Run this command in a container for submissions of people you do not know.

    Args:
        notebooks: the submissions.
        handed_out: the notebook that was handed out; its exercises are those that count.
            Without it they are those the notebook's own metadata name, else those of the
            chapters that it has checks of.
        out: folder to write grades.csv, grades.json and a text for each submission into.
        format: what to print; gradescope is results.json, all notebooks together one submission.
        seconds: that one cell may take, and one check.
        memory_mb: that one process may take (Linux; address space).
        output_kb: that one submission may print.
        jobs: submissions at a time.

    Returns:
        What to print.

    Raises:
        ValueError: for limits that are not positive, or a notebook handed out without exercises.
        OSError: if a file does not exist.
    """
    limits = {"seconds": seconds, "memory_mb": memory_mb, "output_kb": output_kb}
    for name, value in {**limits, "jobs": jobs}.items():
        if value <= 0:
            raise ValueError(f"{name} is {value}; it must be > 0")
    if not notebooks:
        raise ValueError("no notebook to grade")
    for path in notebooks:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file")
    try:
        import nbclient, nbformat  # noqa: E401, F401
    except ImportError:
        raise ValueError("grading needs two more packages: pip install nbclient ipykernel") from None
    names = expected(_cells(handed_out)) if handed_out else None
    if names == []:
        raise ValueError(f"{handed_out} has no exercise with a check")
    stopped = threading.Event()
    with _terminated(), ThreadPoolExecutor(jobs) as pool:
        try:
            graded = list(pool.map(lambda path: grade_one(path, names, stopped=stopped, **limits), notebooks))
        finally:  # interrupted: what runs is stopped and cleared away, and nothing more is started
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
    if out:
        write(graded, out)
    if format == "text":
        return "\n\n".join([*map(text, graded), *([overview(graded)] if len(graded) > 1 else [])])
    return json.dumps(gradescope(graded) if format == "gradescope" else graded, indent=1)


def grade_one(path: Path, names: list[str] | None = None, seconds: float = 30, memory_mb: int = 2048,
              output_kb: int = 1000, stopped: threading.Event | None = None) -> dict:
    """Grade one notebook in a process and a temporary folder of its own; both are gone afterwards.

    Args:
        path: the notebook.
        names: the exercises that count; None for those that the notebook itself names.
        seconds, memory_mb, output_kb: limits, as of `grade`.
        stopped: set it, from another thread, to end this before its time.

    Returns:
        notebook, points, max_points, seconds, problem (why nothing could be graded, or None), and exercises:
        for each name, points, max_points, text, and status, which is correct, wrong, unanswered, error, time, memory,
        output or crash.
    """
    start, path, problem, verdicts = time.monotonic(), Path(path).resolve(), None, []
    try:
        cells = _cells(path)
        names = expected(cells) if names is None else names
        if not names:
            problem = "no exercise found: no cell calls check(...)"
    except Exception as error:
        names, problem = names or [], f"not a notebook that can be read: {type(error).__name__}"
    if problem is None:
        with TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as folder:
            verdicts = _run(path, names, Path(folder), seconds, memory_mb, output_kb, stopped or threading.Event())
    found, rows = {one["name"]: one for one in verdicts}, []
    for name in names:
        one = found.get(name) or ({"status": "unanswered", "text": problem} if problem else {
            "status": "crash", "text": "the notebook was stopped before this exercise: it took too much time or memory"})
        most = exercises.exercises()[name].points
        rows.append({"name": name, "points": most * (one["status"] == "correct"), "max_points": most,
                     "status": one["status"], "text": one["text"]})
    points, most = (sum(row[key] for row in rows) for key in ("points", "max_points"))
    return {"notebook": path.name, "points": points, "max_points": most, "seconds": round(time.monotonic() - start, 1),
            "problem": problem, "exercises": rows}


def expected(cells) -> list[str]:
    """Exercises that count for a notebook: those its metadata name, else all of the chapters that it has checks of."""
    known = exercises.exercises()
    named = cells.metadata.get("mpqlib", {}).get("exercises")
    if isinstance(named, list) and named and all(isinstance(name, str) and name in known for name in named):
        return named
    there = {name for source in cells.sources for name in CHECK.findall(source)}
    chapters = [[one.name for one in import_module(f"{exercises.__name__}.{module.name}").EXERCISES]
                for module in iter_modules(exercises.__path__)]
    return [name for chapter in chapters if there & set(chapter) for name in chapter]


class _cells:
    """Sources of a notebook's code cells as plain Python, and its metadata.

    Raises:
        OSError, ValueError: if it cannot be read.
    """

    def __init__(self, path):
        import nbformat
        from IPython.core.inputtransformer2 import TransformerManager

        notebook = nbformat.read(path, as_version=4)
        self.metadata, self.sources = notebook.metadata, []
        for cell in notebook.cells:
            if cell.cell_type == "code":
                try:
                    self.sources.append(TransformerManager().transform_cell(cell.source))
                except SyntaxError:
                    self.sources.append(cell.source)


# -- around a submission: its process, its folder -------------------------------------------------

@contextmanager
def _terminated():
    """Within it SIGTERM ends Python as Ctrl-C does, so that what has been started is cleared away."""
    def end(number, frame):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        sys.exit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # others cannot
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(path, names, folder, seconds, memory_mb, output_kb, stopped):
    """Verdicts of the process that runs the notebook, as far as it came; nothing of it is left running."""
    import psutil

    token = uuid.uuid4().hex
    work, home = folder / "work", folder / "home"
    work.mkdir(), home.mkdir()
    job = json.dumps({"notebook": str(path), "names": names, "seconds": seconds, "memory_mb": memory_mb,
                      "output_kb": output_kb})
    with open(folder / "verdicts", "w+b") as said:
        worker = subprocess.Popen(
            [sys.executable, "-m", "mpqlib.grading", job], cwd=work, env=_environment(home, token),
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + STARTING + seconds * (len(names) + 1)
            while worker.poll() is None and time.monotonic() < deadline and not stopped.wait(0.05):
                pass
        finally:
            for _ in range(5):  # what a killed process was just starting shows in the next round
                left = []
                for process in psutil.process_iter():
                    try:
                        if process.environ().get(TOKEN) == token:
                            process.kill()
                            left.append(process)
                    except psutil.Error:  # gone, or somebody else's
                        pass
                if not left:
                    break
                psutil.wait_procs(left, timeout=5)
            worker.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    verdicts = []
    for line in lines:
        try:
            verdicts.append(json.loads(line))
        except ValueError:  # cut off when it was killed
            pass
    return verdicts


def _environment(home, token):
    """Variables of a submission's processes: one thread, and `home` for all files that programs keep of their own."""
    from matplotlib import get_cachedir

    own = {"MPLBACKEND": "agg", "MPLCONFIGDIR": get_cachedir() or str(home)}  # its list of fonts takes seconds to make
    own |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1")
    own |= dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "IPYTHONDIR", "JUPYTER_DATA_DIR",
                          "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"), str(home))
    kept = {key: value for key, value in os.environ.items() if key != "JUPYTER_PATH" and not key.startswith("XDG_")}
    return {**kept, **own, TOKEN: token}


# -- inside the process of a submission -----------------------------------------------------------

def _work(job):
    """Run the notebook's answers and print a line of JSON for each exercise."""
    try:
        import resource
        for name, size in {"RLIMIT_AS": job["memory_mb"] * 2**20, "RLIMIT_FSIZE": 64 * 2**20, "RLIMIT_CORE": 0}.items():
            limit = getattr(resource, name)
            hard = resource.getrlimit(limit)[1]
            size = size if hard == resource.RLIM_INFINITY else min(size, hard)
            resource.setrlimit(limit, (size, size))
    except (ImportError, ValueError, OSError):  # not everywhere
        pass
    cells = _cells(job["notebook"]).sources
    where = {name: max((i for i, source in enumerate(cells) if name in CHECK.findall(source)), default=None)
             for name in job["names"]}
    needed = {name: _needed(cells, name) for name in where}
    pending, lost, trouble = [], {}, {}

    def say(name, status, text):
        print(json.dumps({"name": name, "status": status, "text": text}), flush=True)
        if name in pending:
            pending.remove(name)

    for name, place in where.items():
        if place is None:
            say(name, "unanswered", "no cell calls check(...) for it")
        else:
            pending.append(name)

    failures = 0
    while pending:  # a kernel that hung or died is replaced by a new one for the rest
        client = _client(job)
        with ExitStack() as kernel:
            try:
                kernel.enter_context(client.setup_kernel())
            except RuntimeError:  # it died while starting, as when another one took the same free port at that moment
                failures += 1
                if failures == 3:
                    raise
                continue
            client.run(PREPARE.format(**job), seconds=60 + job["seconds"])
            for i in sorted(set().union(*(needed[name] for name in pending)) - set(lost)):
                stopped, trouble[i], _ = client.run(cells[i])
                if stopped:
                    lost[i] = STOPPED[stopped].format(**job)
                    for name in [name for name in pending if where[name] == i]:
                        say(name, stopped, f"the cell with your answer: {lost[i]}")
                    break
                for name in [name for name in pending if where[name] == i]:
                    stopped, error, found = client.run(f"import mpqlib.grading\nmpqlib.grading._report({name!r})")
                    if stopped:
                        say(name, stopped, f"your answer: {STOPPED[stopped].format(**job)}")
                        break
                    say(name, *_explained(found, error, trouble[i], [one for j in sorted(needed[name] - {i})
                                                                     if (one := lost.get(j) or trouble.get(j))]))
                if stopped:
                    break
    return 0


def _explained(found, error, here, before):
    """Status and text of an exercise, from what `_report` found, its cell's error and the troubles of cells it needs."""
    if found is None:
        status, text = "error", f"your answer stopped the check: {error or 'no result came back'}"
    else:
        status, text = found["status"], found["text"]
        if status == "unanswered" and here:
            status, text = "error", f"the cell with your answer stopped before its check: {here}"
    if status == "error" and before:
        text += f" (A cell that this one uses failed: {before[0]})"
    return "memory" if "MemoryError" in text else status, text


def _needed(cells, name):
    """Indices of the cells that check exercise `name`, and of those before them that define what they use, and so on.

    Of several cells that define a name the last one before its use counts; where a function uses it, that is the
    last one before the check.  What a cell only changes, as by `list.append`, is not seen.
    """
    tables = [_names(source) for source in cells]
    chosen = set()
    for answer in (i for i, source in enumerate(cells) if name in CHECK.findall(source)):
        todo = [answer]
        while todo:
            i = todo.pop()
            chosen.add(i)
            _, now, later = tables[i]
            for names, before in ((now, i), (later, i), (later, answer)):
                for one in names:
                    found = next((j for j in range(before - 1, -1, -1) if one in tables[j][0]), None)
                    if found is not None and found not in chosen and found not in todo:
                        todo.append(found)
    return chosen


def _names(source):
    """(names that a cell defines, names that it uses at once, names that its functions use), at the notebook's level."""
    defined, now, later = set(), set(), set()
    try:
        statements = ast.parse(source).body
    except SyntaxError:
        return defined, now, later
    for statement in map(ast.fix_missing_locations, _in_order(statements)):
        table = symtable(ast.unparse(statement), "cell", "exec")
        here = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
        uses = {symbol.get_name() for symbol in table.get_symbols() if symbol.is_referenced()}
        for node in ast.walk(statement):  # x += 1, x[0] = 1 and x.y = 1 use and change x
            if isinstance(node, (ast.AugAssign, ast.Subscript, ast.Attribute)) and (
                    isinstance(node, ast.AugAssign) or isinstance(node.ctx, ast.Store)):
                base = node.target if isinstance(node, ast.AugAssign) else node.value
                while isinstance(base, (ast.Subscript, ast.Attribute)):
                    base = base.value
                if isinstance(base, ast.Name) and base.id in uses | here:
                    here.add(base.id), uses.add(base.id)
        tables = list(table.get_children())
        while tables:
            inner = tables.pop()
            tables += inner.get_children()
            for symbol in inner.get_symbols():
                if symbol.is_global() and symbol.is_referenced():
                    later.add(symbol.get_name())
                if symbol.is_global() and symbol.is_assigned():
                    here.add(symbol.get_name())
        now |= uses - defined
        defined |= here
    return defined, now, later - defined


def _in_order(statements):
    """Simple statements in the order in which they first run; a loop's target is an assignment."""
    for one in statements:
        if isinstance(one, (ast.For, ast.AsyncFor)):
            yield ast.Assign([one.target], one.iter)
        elif isinstance(one, (ast.If, ast.While)):
            yield ast.Expr(one.test)
        elif isinstance(one, (ast.With, ast.AsyncWith)):
            for item in one.items:
                yield ast.Assign([item.optional_vars], item.context_expr) if item.optional_vars else ast.Expr(item.context_expr)
        elif not isinstance(one, ast.Try):
            yield one
            continue
        yield from _in_order([*one.body, *(inner for handler in getattr(one, "handlers", ()) for inner in handler.body),
                              *getattr(one, "orelse", ()), *getattr(one, "finalbody", ())])


def _client(job):
    """A notebook client whose `run` says how a cell ended, and never raises."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError

    class Client(NotebookClient):
        printed = 0

        def process_message(self, msg, cell, cell_index):
            if msg["msg_type"] in ("stream", "display_data", "update_display_data", "execute_result"):
                self.printed += len(str(msg["content"]))
                if self.loud():
                    self.task_poll_for_reply.cancel()  # as when the kernel dies
                    return None
            return super().process_message(msg, cell, cell_index)

        def loud(self):
            return self.printed > 1000 * job["output_kb"]

        def run(self, source, seconds=job["seconds"]):
            """(None or a key of STOPPED, the error as "Type: message" or None, the verdict or None)"""
            self.timeout = seconds
            cell = nbformat.v4.new_code_cell(source)
            try:
                self.execute_cell(cell, 0)
            except CellTimeoutError:
                return "time", None, None
            except Exception:  # DeadKernelError, or a message too large for the memory
                return ("output" if self.loud() else "crash"), None, None
            if self.loud():  # it ended before all that it had printed was read
                return "output", None, None
            error = next((f"{one.ename}: {one.evalue}"[:500] for one in cell.outputs if "ename" in one), None)
            verdict = next((one.data[MIME] for one in cell.outputs if MIME in one.get("data", ())), None)
            return None, error, verdict

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()])
    return Client(notebook, allow_errors=True, kernel_name="python3", record_timing=False,
                  store_widget_state=False, shutdown_kernel="immediate", iopub_timeout=10)


_answers = {}  # in the kernel: exercise -> what the notebook handed to `check` last


def _record(name, answer):
    """`check` of a notebook that is graded: notes the answer, which is judged afterwards."""
    _answers[name] = answer
    return Result(name, True, "handed in", 0)


def _limit_output(characters):
    """In the kernel: who has printed more than this waits to be stopped, before the memory is full of what nobody reads."""
    from IPython import get_ipython

    printed = 0

    def limited(write):
        def limited_write(text):
            nonlocal printed
            if isinstance(text, str):
                printed += len(text)
            written = write(text[:characters + 1])
            while printed > characters:
                sys.stdout.flush(), sys.stderr.flush()
                time.sleep(1)
            return written
        return limited_write

    def limit(_):
        for stream in (sys.stdout, sys.stderr):
            if "limited" not in stream.write.__qualname__:
                stream.write = limited(stream.write)

    get_ipython().events.register("pre_run_cell", limit)  # IPython gives the streams other `write`s for each cell


def _report(name):
    """Judge the recorded answer, and send the verdict out of the kernel."""
    from IPython.display import display

    if name not in _answers:
        status, text = "unanswered", "not answered yet"
    else:
        text = exercises.verdict(exercises.exercises()[name], _answers[name])
        status = ("correct" if text == "correct" else "unanswered" if text.startswith("not answered") else
                  "error" if text.startswith("your function raised") else "wrong")
    display({MIME: {"status": status, "text": text[:2000]}}, raw=True)


# -- what is printed and written ------------------------------------------------------------------

def text(graded: dict) -> str:
    """Points and diagnoses of one notebook."""
    lines = [f"{graded['notebook']}: {graded['points']} of {graded['max_points']} points ({graded['seconds']:.0f} s)"]
    if graded["problem"]:
        lines.append(f"  {graded['problem']}")
    width = max((len(row["name"]) for row in graded["exercises"]), default=0)
    for row in graded["exercises"] if not graded["problem"] else ():
        head = f"  {row['name']:{width}}  {row['points']}/{row['max_points']}  "
        lines.append(fill(head + row["text"], 86, subsequent_indent=" " * len(head), break_long_words=False))
    return "\n".join(lines)


def overview(graded: list[dict]) -> str:
    """Over all notebooks: the mean, and for each exercise how many solved it and what went wrong most often."""
    rows = [row for one in graded for row in one["exercises"]]
    lines = [f"{len(graded)} notebooks, {sum(one['points'] for one in graded) / len(graded):.1f} points on average"]
    names = dict.fromkeys(row["name"] for row in rows)
    for name in names:
        of = [row for row in rows if row["name"] == name]
        wrong = Counter(row["text"].split(" (for ")[0] for row in of if row["status"] not in ("correct", "unanswered"))
        line = f"  {name}: {sum(row['status'] == 'correct' for row in of)} of {len(of)} correct"
        if wrong:
            ((most, count),) = wrong.most_common(1)
            line += f"; most often ({count}): {most}"
        lines.append(fill(line, 86, subsequent_indent="    ", break_long_words=False))
    return "\n".join(lines)


def gradescope(graded: list[dict]) -> dict:
    """Gradescope's results.json of one submission, which may consist of several notebooks."""
    tests = [{"name": row["name"], "score": row["points"], "max_score": row["max_points"], "output": row["text"],
              "status": "passed" if row["status"] == "correct" else "failed", "visibility": "visible"}
             for one in graded for row in one["exercises"]]
    problems = [f"{one['notebook']}: {one['problem']}" for one in graded if one["problem"]]
    return {"score": sum(test["score"] for test in tests),
            "execution_time": round(sum(one["seconds"] for one in graded)),
            "output": "\n".join(problems) or "Points and diagnoses, exercise by exercise.",
            "output_format": "text", "visibility": "visible", "stdout_visibility": "hidden", "tests": tests}


def write(graded: list[dict], out: Path) -> None:
    """grades.csv (a row per notebook, a column per exercise), grades.json, and a text for each notebook."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "grades.json").write_text(json.dumps(graded, indent=1) + "\n", encoding="utf-8")
    names = list(dict.fromkeys(row["name"] for one in graded for row in one["exercises"]))
    with open(out / "grades.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["notebook", "points", "max_points", *names, "problem"])
        for one in graded:
            points = {row["name"]: row["points"] for row in one["exercises"]}
            table.writerow([one["notebook"], one["points"], one["max_points"],
                            *(points.get(name, "") for name in names), one["problem"] or ""])
            (out / f"{Path(one['notebook']).stem}.txt").write_text(text(one) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(_work(json.loads(sys.argv[1])))
