"""What an utterance says that was not said before: stems and figures, without courtesy. Pure functions.

Two agents that agree with each other ever anew use fresh words each time. What they no longer bring is substance: a figure,
a name, a word that is neither grammar nor politeness nor talk about the talk.
"""

from typing import Final

from detectors.text import mask, words

SPOKEN_CHARS: Final = 2048
"""Characters of an utterance that are read, half from the beginning and half from the end."""
_STEM_CHARS: Final = 5

_GRAMMAR: Final = """
a about above after again against all also although am an and any are aren as at be because been before being below between both
but by can cannot could d did didn do does doesn doing don done down during each either else ever every few for from further get
gets give given go goes going had has have haven having he her here him his how however i if in indeed into is isn it its itself
just let like ll m made make makes many may me might more most much must my need needs no nor not now of off on once one only or
other others our out over own per quite rather re really s same say says see seem seems shall she should since so some still such
sure t take than that the their them then there therefore these they thing things this those though through thus to too until up
us use used ve very via want was way we well were what when where whether which while who whom why will with within without would
yet you your
"""
_COURTESY: Final = """
absolutely agree agreed agrees apologies apologise apologize appreciate appreciated best certainly confirm confirmation confirmed
confirms confusion continue correct correctly dear definitely done excellent feel forward free further glad good great happy hello
hey hi job kindly look looks moving noted ok okay please proceed ready regards right sorry team thank thanks understand understood
welcome work working yes
"""
_SAYS_NOTHING: Final = frozenset((_GRAMMAR + _COURTESY).split())


def substance(text: str) -> frozenset[str]:
    """The first letters of the words in `text` that say something, and its figures whole.

    >>> sorted(substance("Thank you! Please verify the 14 figures again."))
    ['14', 'figur', 'verif']
    """
    half = SPOKEN_CHARS // 2
    shown = text if len(text) <= SPOKEN_CHARS else f"{text[:half]} {text[-half:]}"
    said = words(mask(shown)) - _SAYS_NOTHING
    return frozenset(word if is_figure(word) else word[:_STEM_CHARS] for word in said)


def is_figure(word: str) -> bool:
    """Whether the word is a number or an identifier rather than speech.

    >>> is_figure("q3"), is_figure("unit_price"), is_figure("price")
    (True, True, False)
    """
    return "_" in word or any(each.isdigit() for each in word)
