-- Presentation contexts that the DICOM receiver refused, one row for each peer, SOP class and transfer syntax, with the
-- names of both (offer); the receiver keeps a bounded number of them for a month. problem: MR images that were offered in
-- no way that is taken, or the sender then aborted. settled_at: since then the class was taken, or the sender ended an
-- association in order.
CREATE TABLE state_refused_context (
    peer_address TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    offer TEXT NOT NULL,
    times INTEGER NOT NULL,
    aborted INTEGER NOT NULL,
    problem INTEGER NOT NULL CHECK (problem IN (0, 1)),
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    settled_at TEXT,
    PRIMARY KEY (peer_address, calling_ae, sop_class_uid, transfer_syntax_uid)
) STRICT;
