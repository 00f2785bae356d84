-- All that leaves: one row for each thing and receiver. kind: as node/outgoing/kinds.py has it; peer: whom it goes to, ''
-- where the kind has one receiver; key: which thing (the number of an object, request or mail, the UID of a study). A
-- claim holds until leased_until. What is done stays, except where a fact or a record shows that it is done.
CREATE TABLE state_outgoing (
    item_id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    peer TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('waiting', 'done', 'dead')),
    attempts INTEGER NOT NULL,
    enrolled_at TEXT NOT NULL,
    next_attempt_at TEXT NOT NULL,
    leased_until TEXT,
    last_error TEXT,
    done_at TEXT,
    UNIQUE (kind, peer, key)
) STRICT;
CREATE INDEX state_outgoing_due ON state_outgoing (kind, peer, item_id) WHERE status = 'waiting';
CREATE INDEX state_outgoing_dead ON state_outgoing (kind, peer) WHERE status = 'dead';

-- Whom it goes to. Up to which number (of an object, say) it is settled what goes there; what was there before it was set
-- up does not. While it cannot be reached: since when, how often it was tried, and when it is tried again.
CREATE TABLE state_outgoing_peer (
    kind TEXT NOT NULL,
    peer TEXT NOT NULL,
    enrolled_up_to INTEGER NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    failing_since TEXT,
    next_attempt_at TEXT,
    last_error TEXT,
    PRIMARY KEY (kind, peer)
) STRICT;

INSERT INTO state_outgoing (kind, peer, key, status, attempts, enrolled_at, next_attempt_at, leased_until, last_error, done_at)
SELECT 'mail', '', CAST(mail_id AS TEXT), iif(status = 'sent', 'done', status), attempts, queued_at, next_attempt_at,
       leased_until, last_error, sent_at
FROM state_delivery ORDER BY mail_id;

INSERT INTO state_outgoing (kind, peer, key, status, attempts, enrolled_at, next_attempt_at, last_error)
SELECT 'study_query', peer, study_instance_uid, 'waiting', attempts, next_attempt_at, next_attempt_at, last_error
FROM state_study_query ORDER BY study_instance_uid, peer;

INSERT INTO state_outgoing (kind, peer, key, status, attempts, enrolled_at, next_attempt_at, last_error)
SELECT 'commitment', '', CAST(request_id AS TEXT), 'waiting', s.attempts, r.requested_at, s.next_attempt_at, s.last_error
FROM state_commitment AS s JOIN fact_commitment_request AS r USING (request_id) ORDER BY request_id;

INSERT INTO state_outgoing (kind, peer, key, status, attempts, enrolled_at, next_attempt_at, last_error, done_at)
SELECT 'forward', peer, CAST(object_id AS TEXT), iif(status = 'sent', 'done', status), attempts,
       coalesce(sent_at, next_attempt_at), next_attempt_at, last_error, sent_at
FROM state_forward ORDER BY object_id, peer;

INSERT INTO state_outgoing_peer (kind, peer, enrolled_up_to, failures, failing_since, next_attempt_at, last_error)
SELECT 'forward', peer, enrolled_object_id, failures, failing_since, next_attempt_at, last_error FROM state_destination;

DROP TABLE state_delivery;
DROP TABLE state_study_query;
DROP TABLE state_commitment;
DROP TABLE state_forward;
DROP TABLE state_destination;
