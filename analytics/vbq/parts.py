"""The parts of the body that descriptions name, in the languages in which scanners and people write them.

Lower-case texts are searched. Words are stems where a language declines them; what is short stands between letters of
other words only. A word that another language uses for something else is left out.
"""

import re
from collections.abc import Sequence

LUMBAR_WORDS = (
    r"(?<!co)lumb", r"(?<![a-z])lomb", r"lomber", r"lendenw", r"(?<![a-z])l[\s_/-]*s?[\s_/-]*spine",
    r"(?<![a-z])l(?:ws|wk|ss)(?![a-z])",
    r"l(?:ä|ae?)nd(?:rygg|kot)", r"korsrygg", r"l(?:æ|ae)nde(?:ryg|hv)",
    r"lann(?:e|er)(?:ranka|rangan|ranga)", r"nimme",
    r"l[eę]?d[zź]?wiow", r"bedern", r"driekov", r"[aá]gy[eé]ki", r"jostas", r"juosmen", r"slabinsk", r"ledven",
    r"поясн", r"люмб", r"поперек", r"(?<!\w)пк?оп(?!\w)", r"лумб", r"кръст", r"οσφ[υύ]", r"ομσ[σς]",
    r"kr[eę]g\w*\s+l[\s/-]*s?(?![a-z])",
    # l-s, ls beside the spine, levels, thoracolumbar; the spine as a whole has stations without it
    r"(?<![a-z])l[/-]s(?![a-z])", r"(?<![a-z])ls[\s_-]+(?:column|p[aá]te|gerinc|hrbt|spine|rachi|wervel|kr[eę]g|kicm)",
    r"(?:spine|column|p[aá]te[rř]\w*|gerinc|hrbtenica|rachi\w*|kr[eę]g\w*)[\s_-]+ls(?![a-z])",
    r"(?<![a-z])l\s?[1-5]\s?[-/–]\s?[ls]?\s?[1-5](?!\d)", r"(?<![a-z])l\s?5\s?s\s?1(?!\d)",
    r"(?<![a-z])t[/-]?l[\s_/-]*spine",
    r"腰", r"เอว", r"요추", r"요천추", r"מותני", r"קטני", r"قطني", r"کمری", r"thắt lưng", r"that lung",
)  # fmt: skip
OTHER_WORDS = (
    # neck and chest of the spine
    r"(?<![a-z])[ct][\s_/-]*spine", r"cerv", r"servi[ck]", r"thora[ck]", r"tor[aá][ck]", r"(?<![a-z])[hb]ws(?![a-z])",
    r"halsw", r"halsrygg", r"br[oöy]strygg", r"brustw", r"szyjn", r"piersiow", r"kr[cč]n(?:í|i)", r"hrudn", r"nyaki",
    r"h[aá]ti(?![a-z])", r"kaularan", r"rintaran", r"(?<![a-z])dorsal", r"boyun", r"шейн", r"шийн", r"грудн",
    r"αυχεν", r"θωρακ", r"[颈頸頚]", r"胸", r"경추", r"흉추",
    # head
    r"brain", r"head", r"neck", r"skull", r"cerebr", r"crani", r"cr[aâ]ne(?![a-z])", r"sch(?:ä|ae)del", r"kopf",
    r"(?<![a-z])t[eê]te(?![a-z])", r"(?<![a-z])cabe[zç]a", r"encefal", r"enc[eé]phal", r"m[oó]zg", r"hj(?:ä|e)rn",
    r"aivot", r"голов", r"череп", r"мозг", r"[头頭脑腦脳]", r"두부", r"머리", r"(?<!\w)뇌",
    # joints
    r"knee", r"genou", r"(?<![a-z])knie", r"ginocchi", r"rodilla", r"joelho", r"колен", r"kolan", r"膝", r"무릎",
    r"(?<![a-z])hip(?![a-z])", r"h(?:ü|ue)ft", r"(?<![a-z])hanche", r"(?<![a-z])cadera", r"тазобедр", r"biodr",
    r"[髋髖]", r"股関節", r"고관절", r"shoulder", r"schulter", r"[eé]paule", r"(?<![a-z])spalla", r"hombro", r"плеч",
    r"肩", r"어깨", r"ankle", r"foot", r"hand", r"wrist", r"elbow", r"sijoint", r"sacroiliac",
    # trunk
    r"abdom", r"addom", r"(?<![a-z])bauch", r"брюш", r"живот", r"brzuch", r"腹", r"복부", r"pelvi", r"(?<![a-z])becken",
    r"(?<![a-z])bassin(?![a-z])", r"(?<![a-z])bacino", r"(?<!\w)таза?(?!\w)", r"miednic", r"骨盆", r"盆腔", r"골반",
    r"chest", r"breast", r"mamm[ao]", r"молочн", r"乳", r"유방", r"heart", r"(?<![a-z])herz", r"(?<![a-z])c(?:oe|œ)ur",
    r"(?<![a-z])cuore", r"coraz[oó]n", r"сердц", r"심장", r"prostat", r"простат", r"前列腺", r"전립선", r"liver",
    r"(?<![a-z])leber", r"(?<![a-z])foie", r"fegato", r"печен", r"肝",
)  # fmt: skip
LUMBAR = re.compile("|".join(LUMBAR_WORDS))
OTHER_PARTS = re.compile("|".join(OTHER_WORDS))


def named_parts(texts: Sequence[str]) -> frozenset[str]:
    """The parts of the body that lower-case texts name: ``lumbar``, and others in the words that were found."""
    lumbar = {"lumbar" for text in texts if LUMBAR.search(text)}
    return frozenset(lumbar | {match.group() for text in texts for match in OTHER_PARTS.finditer(text)})
