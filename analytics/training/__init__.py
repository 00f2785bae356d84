"""How the networks in :mod:`analytics.vbq` were trained; needs the extra ``[train]``, never imported at run time."""
