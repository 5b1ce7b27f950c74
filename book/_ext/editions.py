"""Editions of the chapters for a course, made from the committed notebooks: plain, student and teacher (`make editions`).

All are ordinary Jupyter notebooks, without this book's directives, that open anywhere.
plain: text, outputs and folded solutions.  student: no solutions, a cell to fill in for each exercise, and its check.
teacher: a plan with minutes, and for each exercise the solution as a cell that runs and the usual misunderstandings.
"""
import ast
import re
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import yaml
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell

from mpqlib.exercises import exercises
from mpqlib.grading import CHECK, _names

BOOK = Path(__file__).resolve().parents[1]
EDITIONS = ("plain", "student", "teacher")
IMPORT = "from mpqlib.exercises import check"
LEFT_OUT = "*The book has a cell here that contains a solution; this edition leaves it out.*"


@dataclass
class Exercise:
    """An exercise as the book has it: label, title, text, source of its stub, and what follows as solution."""

    label: str
    title: str
    text: str
    stub: str | None = None  # None where there is no automatic check
    solution: list = field(default_factory=list)  # cells

    @property
    def points(self):
        return exercises()[self.label].points if self.stub else None

    @property
    def effort(self):
        """Its first line, such as "Ten lines; checked", where that is in italics."""
        found = re.match(r"\*([^*]+)\*\n", self.text)
        return found[1].rstrip(".") if found else ""


def directives(source):
    """Split Markdown into (None, "", text) and (name, argument, content) of its directives."""
    source = re.sub(r"^:::+(?=\{|$)", "``````", source, flags=re.M)
    lines, done = source.splitlines(), 0
    for token in MarkdownIt().parse(source):
        if token.type == "fence" and token.level == 0 and (found := re.match(r"\{([\w:-]+)\} ?(.*)", token.info)):
            start, end = token.map
            if text := "\n".join(lines[done:start]).strip("\n"):
                yield None, "", text
            yield found[1], found[2], token.content
            done = end
    if text := "\n".join(lines[done:]).strip("\n"):
        yield None, "", text


def options(content):
    """(the :key: value lines on top, the rest)"""
    found = dict(re.findall(r"^:([\w-]+): *(.*)$", re.match(r"(?:^:[\w-]+:.*\n?)*", content, re.M)[0], re.M))
    return found, re.sub(r"\A(?::[\w-]+:.*\n?)*\n*", "", content).rstrip()


def code_blocks(text):
    """Sources of the code blocks, fenced or indented, that stand in a text."""
    return [token.content for token in MarkdownIt().parse(text) if token.type in ("fence", "code_block")]


def without_code(text, told):
    """A text without the code blocks whose lines all stand in the code `told`."""
    lines, known = text.splitlines(), {line.strip() for line in told.splitlines()}
    for token in reversed(MarkdownIt().parse(text)):
        if token.type in ("fence", "code_block") and all(line.strip() in known for line in token.content.splitlines()):
            del lines[slice(*token.map)]
            if before := [i for i in range(token.map[0]) if lines[i].strip()]:  # what announced it
                lines[before[-1]] = re.sub(r":$", ".", lines[before[-1]])
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def without_checks(source):
    """A cell without the statements that call check, and nothing where only imports are left."""
    lines, body = source.splitlines(), ast.parse(source).body
    for statement in reversed(body):
        if CHECK.search(ast.unparse(statement)):
            del lines[statement.lineno - 1:statement.end_lineno]
            body.remove(statement)
    return "" if all(isinstance(one, (ast.Import, ast.ImportFrom)) for one in body) else "\n".join(lines).strip()


def inline_code(text):
    for token in MarkdownIt().parse(text):
        yield from (child.content for child in token.children or () if child.type == "code_inline")


def stub_of(label, text):
    """The cell to fill in, from an exercise's text: its code block and its call of check; None if it has no check."""
    found = re.search(rf"""check\(["']{label}["'], (.*)\)""", text)
    if not found:
        return None
    answer = found[1].split(")`")[0]
    code = next((block.strip("\n") for block in code_blocks(text) if f"def {answer}(" in block), None)
    if code is None:  # a value is asked for
        code, answer = (f"{answer} = None  # your answer", answer) if answer.isidentifier() else (
            f"answer = {answer}", "answer")
    # "..." before "return V" as a body: V is what is missing
    code = re.sub(r"^( +)\.\.\.( *#.*)?\n +return ([\w, ]+?)( *#.*)?$",
                  lambda m: f"{m[1]}{m[3].replace(', ', ' = ')} = ...{m[2] or ''}\n{m[1]}return {m[3]}{m[4] or ''}", code, flags=re.M)
    code = re.sub(r"""\n*^check\(.*\)$""", "", code, flags=re.M)
    return f'{code}\n\n\ncheck("{label}", {answer})' if code.startswith("def") else f'{code}\ncheck("{label}", {answer})'


def solved(exercise):
    """The stub with the solution in it.

    The solution's code is its block or cell that defines the function; else a block, or a piece of code in a line,
    that ends in `return ...` and is the function's body; else, for a value, its first piece of code.
    """
    stub, name = exercise.stub, re.search(r", (\w+)\)$", exercise.stub)[1]
    markdown = "\n\n".join(cell.source for cell in exercise.solution if cell.cell_type == "markdown")
    blocks = [*code_blocks(markdown), *(cell.source for cell in exercise.solution if cell.cell_type == "code")]
    check = f'check("{exercise.label}", {name})'
    if not stub.startswith("def"):
        value = next(inline_code(markdown)).removeprefix(f"{name} = ")
        return f"{name} = {value}\n{check}"
    head = next(line for line in stub.splitlines() if line.startswith("def"))
    for block in blocks:
        if found := re.search(rf"^def {name}\(.*?(?=^\S|\Z)", block, re.M | re.S):
            imports = "".join(f"{line}\n" for line in re.findall(r"^(?:from|import) .*", block, re.M))
            return f"{imports}\n\n{found[0].rstrip()}\n\n\n{check}".lstrip("\n")
    bodies = [block for block in blocks if re.search(r"^return ", block, re.M)]
    pieces = [piece for piece in inline_code(markdown) if piece.startswith("return ")] or [
        f"return {piece}" for piece in inline_code(markdown) if " = " not in piece]
    body = (bodies or pieces)[0].strip("\n")
    return "\n".join([head.split("  #")[0], *(f"    {line}" if line else "" for line in body.splitlines()), "", "", check])


class Chapters:
    """All notebooks of the book and what their labels mean."""

    def __init__(self, book=BOOK):
        from pybtex.database import parse_file

        self.book = Path(book)
        self.paths = sorted(self.book.glob("*.ipynb"))
        self.read = {path: nbformat.read(path, as_version=4) for path in self.paths}
        self.references = parse_file(str(self.book / "references.bib")).entries
        repository = yaml.safe_load((self.book.parent / "_config.yml").read_text())["repository"]
        self.online = f"{repository['url']}/blob/{repository['branch']}/book"
        self.labels = {}  # label -> (file, what to call it)
        for path in [*sorted(self.book.glob("*.md")), *self.paths]:
            cells = self.read[path].cells if path in self.read else [new_markdown_cell(path.read_text())]
            self.labels[path.stem] = path.name, next(
                (m[1] for cell in cells if (m := re.search(r"^# (.*)", cell.source, re.M))), path.stem)
            figures = 0
            for cell in cells:
                for label, heading in re.findall(r"^\(([\w-]+)\)=\n+(?:#+ (.*))?", cell.source, re.M):
                    self.labels[label] = path.name, heading or label
                for title, label in re.findall(r"^`+\{exercise\} *(.*)\n:label: ([\w-]+)", cell.source, re.M):
                    self.labels[label] = path.name, f'exercise "{title}"' if title else f"exercise {label}"
                if name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
                    figures += 1
                    number = path.stem[:2].lstrip("0") if path.stem[:2].isdigit() else path.stem
                    self.labels[name] = path.name, f"Figure {number}.{figures}"

    # -- Markdown without this book's directives --

    def link(self, label, here, text=None):
        name, called = self.labels.get(label, (None, label))
        if name is None:
            return text or called
        place = f"#{label}" if label not in (Path(name).stem, name) else ""
        where = "" if name == here and place else name if name.endswith(".ipynb") else f"{self.online}/{name}"
        return f"[{text or called}]({where}{place})"

    def cite(self, keys, textual):
        def one(key):
            persons = [" ".join(person.last_names) for person in self.references[key].persons["author"]]
            who = " and ".join(persons) if len(persons) < 3 else f"{persons[0]} et al."
            year = self.references[key].fields.get("year", "")
            return f"{who} ({year})" if textual else f"{who}, {year}"
        found = [one(key.strip()) for key in keys.split(",")]
        return ", ".join(found) if textual else f"({'; '.join(found)})"

    def plain(self, text, here):
        """Markdown that any notebook viewer understands."""
        def role(found):
            name, content = found[1], found[2]
            called, target = (m[1], m[2]) if (m := re.fullmatch(r"(.*?) *<(.*)>", content, re.S)) else (None, content)
            if name.startswith("cite"):
                return self.cite(content, name == "cite:t")
            return (called or content) if name == "term" else self.link(target.removeprefix("/"), here, called)

        def link(found):
            target = found[2]
            if target.startswith("#") and target[1:] in self.labels:
                return self.link(target[1:], here, found[1])
            if re.match(r"[\w-]+\.md(#|$)", target):
                return f"[{found[1]}]({self.online}/{target})"
            return found[0]

        parts = []
        for name, argument, content in directives(text):
            if name is None:
                content = re.sub(r"^\(([\w-]+)\)=$", r'<a id="\1"></a>\n', content, flags=re.M)
                content = re.sub(r"(?<!`)\{([\w:]+)\}`([^`]+)`", role, content)
                parts.append(re.sub(r"\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)*)\]\(([^)\s]+)\)", link, content))
            else:  # an admonition or note
                body = self.plain(options(content)[1], here)
                quoted = "\n".join(f"> {line}".rstrip() for line in body.splitlines())
                title = argument or name.split(":")[-1].capitalize()
                parts.append(f"> **{title}**\n>\n{quoted}")
        return "\n\n".join(parts)

    # -- a chapter --

    def parts(self, path):
        """The chapter in order: Markdown and code cells, and exercises with their solutions."""
        found, solution, tail = [], None, None
        for cell in self.read[path].cells:
            if cell.cell_type == "code":
                if solution is not None:
                    solution.append(cell)
                elif found and isinstance(found[-1], Exercise) and "= None" in cell.source and CHECK.findall(cell.source) == [found[-1].label]:
                    found[-1].stub = re.sub(r"\A(from mpqlib\.exercises import check\n+)?", "", cell.source)
                else:
                    found.append(cell)
                continue
            for name, argument, content in directives(cell.source):
                if name == "exercise":
                    given, text = options(content)
                    found.append(Exercise(given["label"], argument, text, stub_of(given["label"], text)))
                elif name == "solution":
                    next(one for one in found if isinstance(one, Exercise) and one.label == argument).solution.append(
                        new_markdown_cell(options(content)[1]))
                elif name == "solution-start":
                    solution = next(one for one in found if isinstance(one, Exercise) and one.label == argument).solution
                elif name == "solution-end":
                    solution = None
                else:
                    fence = "`" * 6
                    text = content if name is None else f"{fence}{{{name}}} {argument}\n{content}{fence}"
                    (found if solution is None else solution).append(new_markdown_cell(text))
        return found

    def edition(self, path, edition):
        """The chapter as a notebook of that edition."""
        here, parts, cells, secret, seen = path.name, self.parts(path), [], set(), False
        own = [one for one in parts if isinstance(one, Exercise)]
        public = set().union(*(_names(one.source)[0] for one in parts if not isinstance(one, Exercise) and one.cell_type == "code"
                               and not CHECK.findall(one.source)), set())

        def markdown(text):
            if text := re.sub(r"^\[Open in Colab\].*$", "", self.plain(text, here), flags=re.M).strip("\n"):
                cells.append(new_markdown_cell(text))

        for i, part in enumerate(parts):
            if isinstance(part, Exercise):
                seen = True
                self._exercise(part, edition, markdown, cells, here)
            elif part.cell_type == "markdown":
                markdown(part.source)
            else:
                defined, *used = _names(part.source)
                shows_check = seen and CHECK.findall(part.source)
                if shows_check and edition != "plain" and "check" in cells[-1].source and len(cells[-1].source) < 200:
                    del cells[-1]  # "Here is what a check says ..."
                if seen and edition == "student" and (shows_check or set().union(*used) & secret):
                    secret |= defined - public
                    cells.extend([] if shows_check else [new_markdown_cell(LEFT_OUT)])
                    continue
                cells.append(part.copy())
                if shows_check and edition == "teacher":  # solutions and mistakes stand with their exercises
                    cells[-1].update(source=without_checks(part.source), outputs=[], execution_count=None)
                    later = [_names(one.source) for one in parts[i + 1:] if not isinstance(one, Exercise) and one.cell_type == "code"]
                    if not cells[-1].source or all(isinstance(one, (ast.Import, ast.ImportFrom, ast.FunctionDef)) for one in
                                                   ast.parse(cells[-1].source).body) and not any(
                            defined & (now | then) for _, now, then in later):
                        del cells[-1]  # only functions for the check
                if (figure := part.metadata.get("mystnb", {}).get("figure", {})).get("caption"):
                    label = figure.get("name", "")
                    markdown(f'<a id="{label}"></a>**{self.labels.get(label, ("", "Figure"))[1]}.** {figure["caption"]}')
        if edition == "teacher" and own:
            cells[1:1] = [new_markdown_cell(self.plan(path, own))]
        markdown(self.cited(path))
        notebook = nbformat.v4.new_notebook(cells=cells, metadata=self.read[path].metadata)
        notebook.metadata["mpqlib"] = {"edition": edition, "exercises": [one.label for one in own if one.stub]}
        for i, cell in enumerate(notebook.cells):
            cell["id"] = f"cell-{i}"
            cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
        nbformat.validate(notebook)
        return notebook

    def _exercise(self, one, edition, markdown, cells, here):
        title = f"Exercise: {one.title}" if one.title else f"Exercise {one.label}"
        points = f" ({one.points} point{'s' * (one.points > 1)})" if one.stub else ""
        text = one.text
        if one.stub and edition != "plain":  # its code is in the cell below
            text = without_code(one.text, f"{one.stub}\n{''.join(code_blocks(one.text))}")
            text = text.replace("Put your formula in place of `None` and run the cell.", "").rstrip()
        markdown(f'<a id="{one.label}"></a>\n\n### {title}{points}\n\n{text}')
        solution = "\n\n".join(f"```python\n{cell.source}\n```" if cell.cell_type == "code" else cell.source for cell in one.solution)
        if edition == "plain":
            markdown(f"<details><summary>Solution</summary>\n\n{solution}\n\n</details>")
        elif edition == "student":
            if one.stub:
                cells.append(new_code_cell(f"{IMPORT}\n\n\n{one.stub}", metadata={"tags": ["exercise"]}))
            else:
                cells.append(new_markdown_cell("*Your answer:*"))
        else:
            code = solved(one) if one.stub else ""
            first = "**Solution.**\n\n"
            for cell in one.solution:
                if cell.cell_type == "markdown":
                    markdown(first + without_code(cell.source, code))
                    first = ""
                else:
                    cells.append(cell.copy())
            if one.stub:
                cells.append(new_code_cell(f"{IMPORT}\n\n\n{code}", metadata={"tags": ["solution"]}))
                mistakes = "\n".join(f"- {text}" for text in exercises()[one.label].mistakes)
                if mistakes:
                    cells.append(new_markdown_cell(f"**Common misunderstandings**, as the check answers them:\n\n{mistakes}"))

    def plan(self, path, own):
        """For the teacher: the chapter's minutes by section, and its exercises."""
        text = "\n".join(cell.source if cell.cell_type == "markdown" else f"```\n{cell.source}\n```" for cell in self.read[path].cells)
        words = {}
        for heading, body in re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", text, re.M | re.S):
            if heading.startswith(("Exercises", "Summary", "Further")):
                break
            words[heading] = len(body.split())
        stated = re.search(r"\*\*Time:?\*\*\D*?(\d+) minutes", text)
        minutes = int(stated[1]) if stated else 0
        lines = ["## For the teacher", ""]
        if minutes and words:
            lines += [f"The chapter takes about {minutes} minutes to read; by the length of its sections, that is", "",
                      "| section | minutes |", "|---|---|"]
            lines += [f"| {self.plain(heading, path.name)} | {max(1, round(minutes * count / sum(words.values())))} |"
                      for heading, count in words.items()]
        lines += ["", "Exercises, in their order (minutes are a rule of thumb: five, and three for each line of code):", "",
                  "| exercise | effort | minutes | points |", "|---|---|---|---|"]
        for one in own:
            lines.append(f"| [{one.title or one.label}](#{one.label}) | {self.plain(one.effort, path.name)} "
                         f"| {expected_minutes(one)} | {one.points or ''} |")
        lines += ["", "Points are of the automatic checks (`python -m mpqlib grade`); "
                  "exercises without points are yours to judge."]
        return "\n".join(lines)

    def cited(self, path):
        """The list of references of a chapter."""
        from pybtex.backends.markdown import Backend
        from pybtex.style.formatting.plain import Style

        text = "\n".join(cell.source for cell in self.read[path].cells if cell.cell_type == "markdown")
        keys = dict.fromkeys(key.strip() for found in re.findall(r"\{cite:[tp]\}`([^`]+)`", text) for key in found.split(","))
        if not keys:
            return ""
        entries = Style().format_entries([self.references[key] for key in keys])
        return "## References\n\n" + "\n".join(f"- {entry.text.render(Backend())}".replace("\n", " ") for entry in entries)


def expected_minutes(one):
    """A rule of thumb from the effort that an exercise states; nothing for open ones."""
    effort = one.effort.lower()
    if "research" in effort or "open" in effort:
        return "open"
    count = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10, "fifteen": 15, "twenty": 20, "thirty": 30}
    lines = next((count[word] for word in re.findall(r"(\w+) lines?", effort) if word in count), None)
    if lines is None and (one.stub and one.solution):
        lines = len(solved(one).splitlines()) - 4
    return 5 + 3 * lines if lines else "20 to 45"


def write(folder):
    """All editions as notebooks and as one zip file each.

    Args:
        folder: where to; what an earlier call left there is replaced.
    """
    folder, chapters = Path(folder), Chapters()
    for edition in EDITIONS:
        shutil.rmtree(folder / edition, ignore_errors=True)
        (folder / edition).mkdir(parents=True)
        for path in chapters.paths:
            nbformat.write(chapters.edition(path, edition), folder / edition / path.name)
        archive = shutil.make_archive(str(folder / f"mpq-book-{edition}"), "zip", folder, edition)
        print(f"{archive}  {Path(archive).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    write(sys.argv[1] if len(sys.argv) > 1 else BOOK.parent / "_build" / "editions")
