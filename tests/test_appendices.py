"""The appendices: the list of equations, what the derivation claims beyond them, and the names of the notation table."""

import dataclasses
import json
import pkgutil
import re
from importlib import import_module
from itertools import product

import numpy as np
import pytest

import mpqlib
from mpqlib.boltzmann import free_energy
from mpqlib.softmdp import SoftMDP


def mdp(seed, gamma=0.9):
    return SoftMDP.random(6, 3, 0.7, gamma, np.random.default_rng(seed))


def free_energies(m, Q, horizon):
    return np.array([m.h_step_boltzmann(s, Q, horizon)[1] for s in range(6)])


def soft_backups(m, Q, horizon):
    """(D.9): the minimum of (D.6) with Q at its end, and the policies of its steps."""
    V, policies = m.soft_minimum(Q), [m.boltzmann_policy(Q)]
    for _ in range(horizon - 1):
        Q = m.q_from_v(V)
        V = m.soft_minimum(Q)
        policies.insert(0, m.boltzmann_policy(Q))
    return V, policies


def test_discounted_recursion_over_sequences():
    """(D.6): the discount kept, for a policy and its own Q, over all sequences."""
    m, H = mdp(0), 4
    policy = np.random.default_rng(1).dirichlet(np.ones(3), size=6)
    V, Q = m.evaluate(policy)
    for start in range(6):
        total = 0.0
        for sequence in product(range(3), repeat=H):
            s, probability, cost = start, 1.0, 0.0
            for l, a in enumerate(sequence):
                cost += m.gamma**l * (m.costs[s, a] if l < H - 1 else Q[s, a])
                cost += m.lam * m.gamma**l * np.log(policy[s, a] / m.prior[s, a])
                probability *= policy[s, a]
                s = m.next_state[s, a]
            total += probability * cost
        assert total == pytest.approx(V[start], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_the_gap_of_the_discount_has_both_bounds(seed, horizon):
    """(D.11) and the bound below it: 0 <= F - V <= lam sum_l (1 - gamma^l) E[KL_l] at the minimum of (D.6)."""
    m = mdp(seed)
    Q = np.random.default_rng(seed).uniform(0, 5, (6, 3))
    V, policies = soft_backups(m, Q, horizon)
    gap = free_energies(m, Q, horizon) - V
    bound, reached = np.zeros(6), np.eye(6)
    for l, policy in enumerate(policies):
        bound += m.lam * (1 - m.gamma**l) * reached @ m.kl(policy)
        reached = reached @ np.einsum("sa,sat->st", policy, m.transitions)
    assert (gap >= -1e-12).all() and (gap <= bound + 1e-12).all()
    if horizon == 1:
        np.testing.assert_allclose(gap, 0, atol=1e-12)
    else:
        assert gap.max() > 1e-3 and (bound - gap).max() > 1e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_what_exact_targets_converge_to(seed, horizon):
    """(D.13) contraction by gamma^H, and (D.14): the fixed point lies above Q* by at most gamma delta / (1 - gamma^H)."""
    m = mdp(seed)
    _, best, _ = m.solve()

    def targets(Q):
        return m.costs + m.gamma * free_energies(m, Q, horizon)[m.next_state]

    one, other = np.random.default_rng(seed).normal(scale=5, size=(2, 6, 3))
    factor = m.gamma**horizon
    assert np.abs(targets(one) - targets(other)).max() <= factor * np.abs(one - other).max()
    np.testing.assert_allclose(targets(one + 3) - targets(one), 3 * factor)  # attained by a constant
    Q = best.copy()
    for _ in range(200):
        Q = targets(Q)
    delta = (free_energies(m, best, horizon) - m.soft_minimum(best)).max()
    assert (Q >= best - 1e-9).all()
    assert (Q - best).max() <= m.gamma * delta / (1 - factor) + 1e-9
    if horizon > 1:
        assert (Q - best).max() > 1e-3


def test_excess_of_the_estimate_to_first_order():
    """Remark to Eq. 17: E[estimate] - F is lam / (2 N) times the relative variance of the exponentials."""
    rng, lam, N = np.random.default_rng(0), 2.0, 200
    costs = np.square(rng.standard_normal((20_000, N)) - 1)
    k = 2 / lam  # E exp(-(a - 1)^2 / lam) = exp(-(k / (1 + k)) / 2) / sqrt(1 + k), and at half the temperature
    eta, square = (np.exp(-0.5 * k / (1 + k)) / np.sqrt(1 + k) for k in (k, 2 * k))
    estimate = free_energy(costs, lam)
    linear = lam * (np.exp(-estimate / lam) / eta - 1)  # of mean zero: it takes the noise out of the average
    excess = (estimate + lam * np.log(eta) + linear).mean()
    assert excess == pytest.approx(lam / (2 * N) * (square / eta**2 - 1), rel=0.1)


def library_names():
    """Public names of mpqlib's modules and, as Class.name, of what their classes have; with the module or without."""
    found = {"mpqlib"}
    for module in pkgutil.walk_packages(mpqlib.__path__, "mpqlib."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(import_module(module.name)).items():
            if name.startswith("_") or not getattr(value, "__module__", "").startswith("mpqlib"):
                continue
            short = module.name.removeprefix("mpqlib.")
            found |= {name, f"{short}.{name}"}
            if isinstance(value, type):
                fields = {f.name for f in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set()
                members = fields | set(dir(value)) | set(value.__annotations__)
                found |= {f"{prefix}{name}.{member}" for member in members for prefix in ("", f"{short}.")}
    return found


@pytest.mark.parametrize("page", ["notation", "derivation", "equations"])
def test_names_in_the_appendices_are_in_the_library(root, page):
    names = library_names()
    text = re.sub(r"\{[\w:]+\}`[^`]*`", "", (root / f"book/{page}.md").read_text())  # no roles
    variables = {"states", "actions", "policy", "eta", "terminal_q"}  # of arguments, not of the library
    for name in re.findall(r"`([A-Za-z_][\w.]*)`", text):
        assert name in names | variables, f"{page}.md: {name}"


@pytest.fixture(scope="module")
def equations(root):
    return json.loads((root / "data/equations.json").read_text())


def test_the_page_of_equations_is_the_stored_list(root, equations):
    _, *sections = re.split(r"^\(check-(\d\d)\)=\n", (root / "book/equations.md").read_text(), flags=re.M)
    assert [int(number) for number in sections[::2]] == [row["eq"] for row in equations]
    for row, section in zip(equations, sections[1::2]):
        assert f"## Eq. {row['eq']}:" in section and rf"\tag{{{row['eq']}}}" in section
        assert f"- Place: [chapter {int(row['chapter'][:2])}](#{row['anchor']})\n" in section
        assert "- Library: `" in section and "- Independent answer: " in section and "\nIn words: " in section
        listed = section.split("- Wrong variants that the check rejects:\n")[1]
        assert re.findall(r"^  - (.*)$", listed, re.M) == row["wrong_variants"]


def test_the_chapters_have_the_equations_where_the_list_says(root, equations):
    for row in equations:
        cells = json.loads((root / f"book/{row['chapter']}.ipynb").read_text())["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        anchored = text.split(f"({row['anchor']})=\n")
        assert len(anchored) == 2, f"({row['anchor']})= in {row['chapter']}"
        assert rf"\tag{{{row['eq']}}}" in anchored[1], f"Eq. {row['eq']} does not follow its anchor"


def test_no_target_of_a_link_is_there_twice(root):
    """Sphinx says nothing and takes the last one."""
    where = {}
    for path in sorted((root / "book").glob("*.*")):
        if path.suffix == ".ipynb":
            cells = json.loads(path.read_text())["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        elif path.suffix == ".md":
            text = path.read_text()
        else:
            continue
        for target in re.findall(r"^\(([\w-]+)\)=$", text, re.M):
            assert target not in where, f"({target})= in {where[target]} and {path.name}"
            where[target] = path.name
    assert len(where) > 17
