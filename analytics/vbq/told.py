"""What descriptions and comments tell of a contrast agent, in the languages in which people write them.

A description of a series speaks of that series, one of the examination of all that it consists of: "with and without"
says of a series that nobody knows, and of an examination nothing about any of its series.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from analytics.vbq.contrast import Contrast, most


def _pattern(text: str) -> re.Pattern[str]:
    """Compiled with a bound to each repetition: the effort grows with the length of a text, which anybody may write."""
    return re.compile(re.sub(r"(\\w|\[[^\]]*\])\*", r"\1{0,24}", text))


AGENT_NAMES = (
    r"gado\w*|gada\w*|gd[\s_-]?dtpa|dtpa|dota(?:rem)?|magnevist\w*|magnegita|magnograf|pro[\s-]?hance|clari[\s-]?scan|"
    r"multi[\s-]?hance|omniscan|optimark|vueway|elucirem|pixxoscan|primovist|eovist|cyclolux|гадо\w*|магневист|дотарем"
)
NOUN = (
    rf"(?:contrast\w*|kontra[sś]\w*|con|contr|gd|gad|km|kl|mdc|mdk|pdc|civ|{AGENT_NAMES}|tehoste\w*|varjoaine\w*|"
    r"контраст\w*|σκιαγραφικ\w*)"
)
AFTER_CONTRAST = _pattern(
    rf"(?<![a-z])(?:gd|gad|n?km|ivkm|mdc|mdk|pdc|civ|ce|inj|inject\w*|injekt\w*|iniez\w*|inye[ck]\w*|enh(?:anced?|ancement)?|"
    r"post(?:[\s_.-]*(?:gd|gad\w*|con\w*|kon\w*|km|iv|inj))?|pós|po[\s_.-]*kl|tehoste\w*|varjoaine\w*|kontra[sś]\w*|"
    rf"contr(?:ast\w*)?|postcon\w*|w/?\s*cont?|c/c|(?:w/|w\s)c|t1[\s_-]?c|kontrasz\w*|kontras|iv\s?(?:\+|c\+)|{AGENT_NAMES})"
    r"(?![a-z])|(?<=sag)km(?![a-z])|(?<=tse)km(?![a-z])|(?<=fse)km(?![a-z])|"
    r"контраст|(?<!без )(?<!\w)к/?у(?!\w)|σκιαγραφικ|ניגוד|صبغة|تباين|thuốc|đối quang|ฉีดสี|สารทึบ|"
    r"造影|增强|增強|打药|打藥|注药|药后|조영|\+\s*(?:c|k|к|kl|gd|gad|km)(?!\w)|(?<![a-z])c\s?\(?\+|(?<=[a-z0-9])\s?\+(?=[\s_)]*$)|t1\s?\+(?=[\s_])"
)
"""A word of it makes a series one of after contrast."""
WITHOUT = (
    r"no|non|not|without|w/?o|wo|before|prior to|ohne|keine?n?|o\.|vor|sans|avant|pas de|sin|s/|antes del?|senza|"
    r"prima di|sem|zonder|geen|voor|bez|brez|brak|przed|před|pred|prije|uten|utan|uden|före|før|inga?|ingen|ikke|ilman|"
    r"ei|ennen|fara|fără|без|до|χωρίς|pre|native?|nativ[ao]|plain"
)
DENIED = _pattern(
    rf"(?<![a-z])(?:{WITHOUT})[\s_.-]*(?:(?:iv|i\.v|any|un|le|la|el|il|o|du|de)[\s_.-]+|l')?(?:{NOUN}|inj\w*|c)(?!\w)|"
    rf"(?<![a-z]){NOUN}(?:[\s_.-]?(?:agent|agens|gabe|mittel))?[\s_.:=-]*"
    r"(?:frei|arm|free|no|none|nein|not|nicht|keine?s?|nao|não|non|niet|nej|nie|0|refused|declined|abgelehnt|verweigert|"
    r"kontraindiziert|contra[\s-]?indicated|refus\w*|siz|sız|optimi[sz]ed|\w*allerg\w*)(?![a-z])|"
    rf"(?:refus\w*|declin\w*)[\s_:-]*(?:du|de|iv|the)?[\s_:-]*{NOUN}|"
    rf"allerg\w*[\s_:-]*(?:to|auf|gegen|au|aux|al|a|to the)?[\s_:-]*(?:iv\s)?{NOUN}|"
    r"kontrast(?:s[ıi]z|mittelallergie|arm|frei)|(?:non|un)[\s_-]*enhanced|(?<![a-z])(?:c|gd|km)-(?!\w)|"
    r"(?:high|low|hi|soft|tissue|image|phase|good|poor)[\s_-]*contrast(?!\w)|"
    r"без (?:контраст\w*|к/?у)|造影(?:なし|無し|前)|造影剤(?:なし|無し)|비조영|조영\s?전|(?:未|无|無)增[强強]|"
    r"增[强強]前|平扫|平掃|単純|ללא (?:חומר )?ניגוד|بدون (?:صبغة|تباين)|không (?:tiêm )?thuốc"
)
"""Says that there is none, or speaks of something else. What is left of a text tells whether there is one."""
NATIVE = _pattern(
    r"(?<![a-z])(?:pre|wo|w/o|native?[nrs]?|nativ[ao]|plain|unenhanced|basale?|blanco|simple|s/c)(?![a-z])"
)
"""Says the same without a word of contrast."""
AFTER_SOMETHING_ELSE = _pattern(
    r"(?<![a-z])post[\s_.-]*(?:op|surg|lami|disc|disk|fus|nucle|traum|vertebr|kypho|implant|instr|radi|rt|xrt|chemo|"
    r"decomp|fract|fx|part|void|proc|treat|ther|tx)\w*|"
    r"(?:epidural|steroid\w*|cortison\w*|kortison\w*|facet\w*|nerve|root|peridural\w*)[\s\w-]{0,16}inje[ck]t\w*|"
    r"inje[ck]ti\w*[\s_-](?:epi|peri)dural\w*|"
    r"(?<![^\W_])\d+(?:[.,]\d+)?\s?km(?![a-z])"
)
"""After an operation, an injection into the spine, or so many kilometres on foot."""
IN_SHORT = frozenset({"post", "pós", "ce", "inj", "enh", "enhance", "civ", "c/c", "w c", "w/c", "+", "t1c", "t1 c"})
"""Words that tell of an agent in the name of a series only."""
AND = r"[\s/&+,.-]*(?:and|und|et|y|e|en|och|og|i|a|и|și|si|or|oder|then|puis|dann)?[\s/&+,.-]*"
WITH_AND_WITHOUT = {
    "with|w": "without|w/?o", "mit": "ohne", "avec": "sans", "con": "sin|senza", "com": "sem", "met": "zonder",
    "med": "utan|uden|uten", "z|s|sa|so": "bez|brez", "с": "без", "cu": "fara|fără", "pre": "post", "nativ": "km",
    "before": "after", "vor": "nach", "avant": "après|apres", "antes": "después|despues|depois|após", "prima": "dopo",
    "przed": "po", "до": "после", "före|før": "efter|etter", "voor": "na",
}  # fmt: skip
BOTH = _pattern(
    "|".join(
        rf"(?<![^\W_])(?:(?:{one}){AND}(?:{other})|(?:{other}){AND}(?:{one}))(?![^\W_])"
        for one, other in WITH_AND_WITHOUT.items()
    )
    + r"|\+\s?/\s?-|-\s?/\s?\+|±|(?<![^\W_])(?:and|und|et|y|e|i|и) (?:without|ohne|sans|sin|senza|sem|bez|без)\s*$"
)
"""An examination in two parts."""


OF_IMAGE = ("drug", "image comments", "protocol name")
"""Where something is told of the images themselves."""
OF_EXAMINATION = (
    ("procedure step", "study comments"),
    ("procedure codes", "study description"),
    ("requested procedure",),
)
"""Where something is told of the examination: what was done goes before its name, and that before what was asked."""
OF_SEQUENCE = re.compile(r"(?<![a-z])(?:t[12]w?|pdw?|sag\w*|tse|fse|se)(?![a-z])")
"""A protocol that is named after a sequence; some makers name that of the whole examination there."""


def told_of_series(descriptions: Iterable[str]) -> Contrast | None:
    """What the names of one series tell together."""
    found = {told(text, of_series=True) for text in descriptions} - {None}
    return most(one for one in found if one is not None) if found else None


def given_in(told_at: Mapping[str, Contrast], places: Sequence[str]) -> tuple[str, ...]:
    """Where of these places an agent is told of."""
    return tuple(place for place in places if told_at.get(place) is Contrast.GIVEN)


def examination_with(told_at: Mapping[str, Contrast]) -> tuple[str, ...]:
    """Where it is told that the examination was one with contrast; empty where it was not, or with and without."""
    said = next((places for places in OF_EXAMINATION if any(place in told_at for place in places)), ())
    return given_in(told_at, said)


def words_of_contrast(text: str) -> tuple[str, ...]:
    """The words of a text by which it is one of after contrast, sorted."""
    rest = AFTER_SOMETHING_ELSE.sub(" ", DENIED.sub(" ", _spelled(text)))
    return tuple(sorted({match.group().strip() for match in AFTER_CONTRAST.finditer(rest)}))


def told(text: str, *, of_series: bool = False) -> Contrast | None:
    """What a text tells of a contrast agent; unknown is "with and without", and ``None`` that it says nothing.

    ``of_series``: it names a series, so that abbreviations count; in prose they are other words.
    """
    spelled = _spelled(text)
    if BOTH.search(spelled):
        return Contrast.UNKNOWN
    denied = DENIED.search(spelled) or NATIVE.search(spelled)
    if any(of_series or word not in IN_SHORT for word in words_of_contrast(text)):
        return Contrast.UNKNOWN if denied else Contrast.GIVEN
    return Contrast.NONE if denied else None


def _spelled(text: str) -> str:
    """In lower case, with signs of full width as the usual ones and abbreviations without their dots."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(r"(?<![^\W\d_]{2})(?<=[^\W\d_])\.(?=[^\W\d_](?:\.|\b))", "", plain)
