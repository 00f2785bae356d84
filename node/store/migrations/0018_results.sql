-- A result as it was rendered for one destination, once: what is sent again are these bytes. kind: what it is (sr, sc, seg,
-- gsps, ko, oru, fhir); queue: the kind of the queue that sends it; destination: as the settings name it; subject: the
-- SeriesInstanceUID of the images; identifier: its SOP Instance UID, or what a message is told by. version counts those of one
-- kind, destination and subject; replaces is the one before. content is what it says, and content_sha256 the digest by which
-- a change is known. The bytes are in body, or in the folder results/ under their SHA-256.
CREATE TABLE record_result (
    result_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    queue TEXT NOT NULL,
    destination TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    identifier TEXT NOT NULL UNIQUE,
    replaces INTEGER REFERENCES record_result,
    status TEXT NOT NULL CHECK (status IN ('preliminary', 'final', 'corrected', 'withdrawn')),
    content TEXT NOT NULL CHECK (json_valid(content)),
    content_sha256 TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    body BLOB,
    algorithm TEXT NOT NULL,             -- name and version
    approved_by TEXT,
    made_at TEXT NOT NULL,
    UNIQUE (kind, destination, subject, version)
) STRICT;
CREATE INDEX record_result_subject ON record_result (subject);
CREATE INDEX record_result_queue ON record_result (queue, destination, result_id);

-- What a destination has said of a result after it was sent: kept, or missing. how: commitment (Storage Commitment), query
-- (C-FIND), ack (the acknowledgement of an HL7 message).
CREATE TABLE record_result_answer (
    answer_id INTEGER PRIMARY KEY,
    result_id INTEGER NOT NULL REFERENCES record_result,
    how TEXT NOT NULL,
    answer TEXT NOT NULL CHECK (answer IN ('kept', 'missing')),
    detail TEXT NOT NULL,
    answered_at TEXT NOT NULL
) STRICT;
CREATE INDEX record_result_answer_result ON record_result_answer (result_id);

-- What a person asked for: that results of a series are sent (also of images from before a destination was set up) or
-- withdrawn, of which the newest holds; or that one result is sent again as it is.
CREATE TABLE fact_result_request (
    request_id INTEGER PRIMARY KEY,
    request TEXT NOT NULL CHECK (request IN ('send', 'withdraw', 'resend')),
    series_instance_uid TEXT NOT NULL,
    result_id INTEGER REFERENCES record_result,
    why TEXT NOT NULL,
    requested_at TEXT NOT NULL,
    requested_by TEXT NOT NULL
) STRICT;
CREATE INDEX fact_result_request_series ON fact_result_request (series_instance_uid, request_id);

-- Whether a destination keeps results: asked under a transaction, and not answered yet.
CREATE TABLE state_result_commitment (
    transaction_uid TEXT NOT NULL,
    result_id INTEGER NOT NULL REFERENCES record_result,
    asked_at TEXT NOT NULL,
    PRIMARY KEY (transaction_uid, result_id)
) STRICT;
CREATE INDEX state_result_commitment_result ON state_result_commitment (result_id);
