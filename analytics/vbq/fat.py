"""The words by which series name that fat was suppressed, or taken out of an image, in the languages of their makers.

Marrow without its fat is no marrow for a score. Lower-case texts are searched; scanners name it in short, people in
their language, and both may say that it was not done.
"""

import re

SHORT = (
    r"fs|fat\w*|fsat|spair|spir|stir|tirm|m?dixon|ideal|flex|water\w*|wats?|(?:in|out|opp?)_?phase|opp|opposed\w*|"
    r"(?:in|out(?:[\s_-]of)?|opp|opposed)[\s_-]phase"
)
"""Of scanners. Also the parts of a chemical-shift series: water alone is marrow without its fat."""
SUPPRESSED = r"(?:su?pp?r\w*|supp?|sopp\w*|sat\w*|supp?res\w*|annull?\w*|anul\w*|saturaz\w*|potla\w*|zaduš\w*)"
FAT = (
    r"graisses?|grasas?|grass[oi]|gordura|gr[aă]sim\w*|tuk[uů]?|t[lł]uszcz\w*|mast[ik]?|masno\w*|maščob\w*|"
    r"zs[ií]r\w*|ya[gğ]|riebal\w*|tauk\w*|rasv\w*|λ[ιί]π\w*|жир\w*|мазнин\w*"
)
"""Beside a word of suppression."""
WHOLE = (
    r"(?<![a-z])(?:fett?|vet|fedt)[\s_-]*(?:ge)?(?:s[äæ]t|saet|sat|sup|unter|onder|mætt|maett|matt|mätt|undertr)\w*|"
    r"(?<![a-z])rasva(?:n|satu|supp|[\s_-]?vaim)\w*|zs[ií]r(?:eln|sz?upp|tel)\w*|ya[gğ][\s_-]*(?:bask|sat|sup)\w*|"
    r"жиро?(?:под|сат|суп)\w*|脂肪(?:抑制|饱和|飽和)|[压壓抑]脂|지방\s?(?:억제|포화)|"
    r"x[oó][áa] m[ỡơ]|ไขมัน|دهون|שומן"
)
"""In one word, or of languages that do not part them."""
NOT = (
    r"no|non|not|without|w/?o|ohne|keine?|sans|sin|senza|sem|zonder|geen|bez|brez|utan|uden|uten|ilman|fara|fără|без|"
    r"χωρίς"
)
OF = r"(?:[\s_.-]+(?:d[eiau]|del|della|de la|da|di|of|the|la|le|il))?[\s_.-]*"
FOUND = re.compile(
    rf"(?<![a-z])(?:{SHORT})(?![a-z])|(?<![a-z])(?:{SUPPRESSED}){OF}(?:{FAT})(?![a-z])|"
    rf"(?<![a-z])(?:подавл\w*|супресс\w*|сатурац\w*|καταστολ\w*){OF}(?:{FAT})|"
    rf"(?<![a-z])(?:{FAT})[\s_.-]*(?:{SUPPRESSED}|подав\w*|bask\w*)|{WHOLE}"
)
DENIED = re.compile(
    rf"(?<![a-z])(?:{NOT})[\s_.-]*(?:(?:{SUPPRESSED}|подавл\w*|супресс\w*|сатурац\w*){OF})?"
    rf"(?:fs|{FAT}|fat\w*|{WHOLE})(?![a-z])|"
    r"[非不无無]\s?(?:[压壓抑]脂|脂肪抑制)|脂肪抑制(?:なし|無し)|지방\s?억제\s?(?:없음|안)"
)


def words_of_fat_suppression(text: str) -> tuple[str, ...]:
    """The words of a text by which fat was suppressed or taken out, sorted; empty where nothing says so."""
    return tuple(sorted({match.group().strip() for match in FOUND.finditer(DENIED.sub(" ", text))}))
