"""What models said, and what counts as saying it again."""

from detectors.features import FeatureState
from detectors.model import Step
from detectors.step_features import StepFeatures
from detectors.testing import llm, session, tool

_SAID = ("The report is nearly done, one page is missing.", "The report is nearly done, a page is missing.")


def observed(*steps: Step) -> list[StepFeatures]:
    state = FeatureState()
    return [state.observe(step) for step in session(*steps)]


def spoken(between: Step) -> StepFeatures:
    return observed(llm(text="Let me look at the list first."), llm(text=_SAID[0]), between, llm(text="So."), llm(text=_SAID[1]))[-1]


def test_the_same_said_again_where_nothing_new_came_is_a_repetition() -> None:
    again = observed(llm(text=_SAID[0]), llm(text=_SAID[1]))[-1]
    assert again.similar_to == 1
    failed = spoken(tool("fetch", {"id": 7}, error=True))
    assert failed.argument_similarity is not None
    assert (failed.argument_similarity > 0.7, failed.similar_to) == (True, 2)


def test_the_same_said_of_what_is_new_is_none() -> None:
    assert spoken(tool("fetch", {"id": 7}, "Page seven tells of rivers and of the towns beside them")).similar_to is None
    assert spoken(tool("fetch", {"id": 7}, output_bytes=4000)).similar_to is None


def test_each_agent_is_compared_with_itself() -> None:
    *_, other = observed(llm(text=_SAID[0], agent="a"), llm(text=_SAID[1], agent="b"))
    assert (other.first, other.similar_to) == (True, None)
