"""Every kind of outgoing thing; a new one is a module and a line here.

The modules are light: the libraries that send are loaded when there is something to send.
"""

from node.outgoing.audit import AUDIT
from node.outgoing.commitment import COMMITMENT
from node.outgoing.fhir import FHIR
from node.outgoing.forward import FORWARD
from node.outgoing.kind import Kind
from node.outgoing.mail import MAIL
from node.outgoing.oru import ORU
from node.outgoing.result_check import RESULT_CHECK
from node.outgoing.results import RESULTS
from node.outgoing.study_query import STUDY_QUERY

KINDS: tuple[Kind, ...] = (COMMITMENT, STUDY_QUERY, FORWARD, RESULTS, RESULT_CHECK, MAIL, ORU, FHIR, AUDIT)
