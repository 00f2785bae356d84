-- Objects of which the DICOM receiver got a part only, one row for each peer and SOP Instance UID; it keeps a bounded
-- number of them for a month. after_receipt: the newest receipt by then; a later one of the same UID settles it.
CREATE TABLE state_cut_off (
    peer_address TEXT NOT NULL,
    calling_ae TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    sop_class_uid TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_at TEXT NOT NULL,
    last_at TEXT NOT NULL,
    after_receipt INTEGER NOT NULL,
    PRIMARY KEY (peer_address, calling_ae, sop_instance_uid)
) STRICT;
