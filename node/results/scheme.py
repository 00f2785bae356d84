"""The private coding scheme of what this software tells: its name and its UID, which never change."""

SCHEME = "99VBQNODE"
SCHEME_UID = "2.25.219957296002100684162745109781940625025"
