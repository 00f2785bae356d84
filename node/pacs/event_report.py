"""The answer to a request for Storage Commitment, over an association that this node opens."""

from pynetdicom.presentation import build_context, build_role

from node.dicom.commitment import WELL_KNOWN_INSTANCE, Report
from node.dicom.contexts import STORAGE_COMMITMENT
from node.errors import PeerError
from node.pacs.peer import associated
from node.settings import RemoteAe

SUCCESS = 0x0000


def send_event_report(remote: RemoteAe, report: Report, *, ae_title: str) -> None:
    """Send the N-EVENT-REPORT; returns once it is confirmed.

    Raises
    ------
    PeerError
        It is not.
    """
    # The one who connects is here the provider of the service, which has to be said (PS3.7, D.3.3.4).
    role = build_role(STORAGE_COMMITMENT, scp_role=True)
    with associated(remote, [build_context(STORAGE_COMMITMENT)], ae_title=ae_title, roles=[role]) as association:
        status, _ = association.send_n_event_report(
            report.dataset(retrieve_ae=ae_title), report.event_type, STORAGE_COMMITMENT, WELL_KNOWN_INSTANCE
        )
    code = status.get("Status")
    if code != SUCCESS:
        said = "did not answer" if code is None else f"answered with status 0x{code:04X}"
        raise PeerError(f"{remote.ae_title} at {remote.host}:{remote.port} {said} to the N-EVENT-REPORT")
