"""The how-to's task, taken out of its notebook as a reader would copy it, and what a task may leave out."""
import nbformat
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mpqlib.mppi import MPPI, MPPISettings
from mpqlib.mpq import evaluate
from mpqlib.randomization import Uniform


@pytest.fixture(scope="module")
def cells(root):
    """Tag -> source of the two cells that define tasks."""
    notebook = nbformat.read(root / "book" / "own-task.ipynb", as_version=4)
    found = {tag: cell.source for cell in notebook.cells for tag in cell.metadata.get("tags", []) if tag.startswith("own-")}
    assert set(found) == {"own-task", "own-equations"}
    return found


@pytest.fixture(scope="module")
def page(cells):
    """The names that the cells define, with nothing but the imports of the first and `Task` before the second."""
    names = {}
    exec(cells["own-task"], names)  # alone, as text promises
    exec("from mpqlib.tasks import Task\n" + cells["own-equations"], names)
    return names


@pytest.fixture(scope="module")
def task(page):
    return page["ToggleSwitch"]()


def test_as_short_as_promised(cells):
    lines = {tag: sum(bool(line.strip()) for line in source.splitlines()) for tag, source in cells.items()}
    assert lines["own-task"] < 60 and lines["own-equations"] <= 20, lines


@pytest.mark.parametrize("name", ["ToggleSwitch", "SwitchByHand"])
def test_environment_passes_gymnasiums_checker(page, name):
    check_env(page[name]().environment(), skip_render_check=True)


@pytest.mark.parametrize("name", ["ToggleSwitch", "SwitchByHand"])
def test_shapes_and_vectorisation(page, name):
    task, rng = page[name](), np.random.default_rng(0)
    states, actions = task.reset(4, rng), rng.uniform(-3, 3, (4, 30, 1))
    states = task.simulator()(states, actions, rng)
    costs, observations, success = task.cost(states[:, :-1], actions), task.observe(states), task.success(states)
    assert costs.shape == (4, 30) and (costs >= 0).all()
    assert observations.shape == (4, 31, task.observation_dim) and success.shape == (4,)
    for b in range(4):
        assert task.cost(states[b, 3], actions[b, 3]) == costs[b, 3]
        np.testing.assert_array_equal(task.observe(states[b, 3]), observations[b, 3])
        assert task.success(states[b]) == success[b]


def test_success_is_the_whole_last_second_closed(task):
    closed = np.tile([task.closed, 0.0], (121, 1))
    assert task.success(closed)
    closed[-20, 0] -= 0.16
    assert not task.success(closed)
    assert not task.success(np.tile([-task.closed, 0.0], (121, 1)))


def test_both_simulators_have_the_parameters_they_are_given(task):
    """Resting where the spring is slack, one push gives the speed a dt / m; held, it needs the spring's force."""
    for mass in (0.8, 1.6):
        simulate = task.simulator(Uniform.around({"mass": mass, "stiffness": 1.0}))
        speed = simulate(np.array([[0.49, 0.0]]), np.full((1, 1, 1), 3.0), None)[0, 1, 1]
        assert speed == pytest.approx(3.0 * task.dt / mass, rel=0.03)
    for stiffness in (50.0, 100.0):
        x, r = -0.3, np.hypot(0.3, 0.5)
        force = stiffness * (r - 0.7) * x / r
        simulate = task.simulator(Uniform.around({"mass": 1.0, "stiffness": stiffness}))
        held = simulate(np.array([[x, 0.0]]), np.full((1, 8, 1), force), None)[0]
        np.testing.assert_allclose(held, np.tile([x, 0.0], (9, 1)), atol=1e-6)


def test_by_hand_is_mujoco(page, task):
    by_hand, rng = page["SwitchByHand"](), np.random.default_rng(0)
    starts, actions = task.reset(50, rng), rng.uniform(-3, 3, (50, 40, 1))
    np.testing.assert_allclose(by_hand.true_system()(starts, actions, rng), task.true_system()(starts, actions, rng), atol=1e-8)


def test_mppi_closes_the_switch_if_it_knows_it(task):
    settings = MPPISettings(horizon=24, samples=32, lam=0.1, sigma=3.0, beta=0.8, action_low=task.action_low,
                            action_high=task.action_high)
    starts = task.reset(10, np.random.default_rng(1))

    def rate(simulate):
        return evaluate(task, MPPI(settings, simulate, task.cost), task.true_system(), starts, np.random.default_rng(2))["success"].mean()

    assert rate(task.simulator(Uniform.around(task.true_parameters))) >= 0.8
    assert rate(task.simulator()) <= 0.5  # the bias matters


def test_a_missing_body_is_named_with_those_there_are(page):
    class Sledge(page["ToggleSwitch"]):
        def write(self, model, parameters):
            page["named"](model, "body", "sledge")

    with pytest.raises(ValueError, match="no body named 'sledge'; it has world, slider"):
        Sledge().simulator()


@pytest.mark.parametrize("attributes, said", [
    (dict(action_low=-3.0), r"action_low of switch is -3.0; it must be a tuple, one number per action dimension"),
    (dict(action_high=(3.0, 3.0)), r"action range of switch is \(-3.0,\) to \(3.0, 3.0\); both must have one number"),
    (dict(action_low=(4.0,)), "low < high"),
    (dict(dt=0.0), "dt of switch is 0.0; it must be a finite number > 0"),
    (dict(dt=0.0533), r"substeps of \S+ s make \S+ s; a control step of switch is dt = 0.0533 s"),
    (dict(state_dim=3), r"reset\(1, rng\) of switch gives an array of shape \(1, 2\); with state_dim = 3"),
    (dict(observation_dim=9), r"observe of switch gives an array of shape \(1, \d\) for one state; with observation_dim = 9"),
    (dict(action_low=(-3.0, -3.0), action_high=(3.0, 3.0)), r"an action of switch \(2 numbers\) drives its model by 2; the model has 1 act"),
])
def test_attributes_that_do_not_fit_are_named_when_the_task_is_used(page, attributes, said):
    wrong = type("Wrong", (page["ToggleSwitch"],), attributes)()
    with pytest.raises(ValueError, match=said):
        wrong.environment()


def test_a_state_that_does_not_fit_the_model_is_named_by_its_simulator(page):
    wrong = type("Wrong", (page["ToggleSwitch"],), dict(state_dim=3))()
    with pytest.raises(ValueError, match=r"state_dim = 3\) enters its model as 3 numbers; the model has 1 positions and 1 velocities"):
        wrong.true_system()


def test_a_task_without_a_picture_says_so(page):
    by_hand = page["SwitchByHand"]()
    with pytest.raises(NotImplementedError, match="switch_by_hand has no picture"):
        by_hand.render(np.zeros(2))


@pytest.mark.gl
def test_scene_and_view_may_be_left_out(page, task):
    class Plain(page["ToggleSwitch"]):
        view = {}

    state = np.array([-task.closed, 0.0])
    own, plain = task.render(state), Plain().render(state)
    assert own.std() > 1 and plain.std() > 1 and not np.array_equal(own, plain)
