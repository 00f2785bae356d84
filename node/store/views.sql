-- The promised views. conf/datasette.json describes every column; a test keeps the two equal.
-- Public ids of messages and objects are the first 12 hex digits of the SHA-256 of their bytes.

CREATE VIEW cohort AS
WITH latest AS (SELECT episode, max(flag_id) AS flag_id FROM record_flag GROUP BY episode)
SELECT l.episode AS id, l.vbq, l.age, l.sex_male, l.smoking, l.diabetes, l.hypertension, l.calcium, l.diagnosis,
       l.bmi, l.neutrophils, l.lymphocytes, l.platelets, l.nlr, l.plr,
       l.site, l.scanner_stratum, l.surgery_date, l.mri_date, l.cbc_date,
       l.eligible,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(l.exclusion_reasons)) AS exclusion_reasons,
       f.tier, l.vbq_sd, l.t_score, l.bmd_g_per_cm2, l.hu, l.event,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(l.exclusion_reasons)) AS exclusion_reason_codes,
       l.monocytes, l.lmr, l.sii, l.siri
FROM derived_link AS l
LEFT JOIN latest ON latest.episode = l.episode
LEFT JOIN record_flag AS f ON f.flag_id = latest.flag_id
WHERE l.status IN ('linked', 'incomplete', 'held')
UNION ALL
SELECT id, vbq, age, sex_male, smoking, diabetes, hypertension, calcium, diagnosis,
       bmi, neutrophils, lymphocytes, platelets, nlr, plr,
       site, scanner_stratum, surgery_date, mri_date, cbc_date,
       eligible, (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(exclusion_reasons)),
       NULL, NULL, t_score, bmd_g_per_cm2, hu, event,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(exclusion_reasons)),
       monocytes, lmr, sii, siri
FROM derived_import_row;

CREATE VIEW flags AS
SELECT f.flag_id, f.night, f.episode AS id, p.pseudonym AS patient, f.change, f.tier, f.previous_tier, f.cause,
       f.surgery_date, f.vbq, f.nlr, f.plr, f.threshold_version,
       f.vbq_cut, t.nlr AS nlr_cut, t.plr AS plr_cut, f.cut_of, f.scanner_stratum, f.vbq_sd, f.near_cut,
       f.flag_id = (SELECT max(flag_id) FROM record_flag AS later WHERE later.episode = f.episode) AS latest,
       (SELECT json_group_array(value ->> 'code') FROM json_each(f.cause_reasons)) AS reason_codes
FROM record_flag AS f
LEFT JOIN record_threshold AS t ON t.version = f.threshold_version
LEFT JOIN derived_link AS l ON l.episode = f.episode
LEFT JOIN derived_person AS p ON p.person = l.person;

CREATE VIEW measurements AS
SELECT m.series_instance_uid, m.sop_instance_uid, m.instance_number, m.frame_number, m.source, m.status,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(m.reasons)) AS reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(m.reasons)) AS reason_codes,
       m.vbq_mean, m.vbq_median,
       -- Who takes the circles of the automatic measurement as they are takes its uncertainty with them.
       coalesce(m.vbq_sd, (SELECT a.vbq_sd FROM derived_measurement AS a
                           WHERE a.series_instance_uid = m.series_instance_uid AND a.reading_id IS NULL
                             AND a.sop_instance_uid = m.sop_instance_uid AND a.frame_number IS m.frame_number
                             AND a.rois = m.rois ORDER BY a.current DESC, a.instances_sha256 LIMIT 1),
                (SELECT k.vbq_sd FROM record_measurement AS k
                 WHERE k.series_instance_uid = m.series_instance_uid AND k.sop_instance_uid = m.sop_instance_uid
                   AND k.frame_number IS m.frame_number AND k.rois = m.rois
                 ORDER BY k.kept_at DESC, k.instances_sha256 LIMIT 1)) AS vbq_sd,
       m.levels_confidence,
       m.rois ->> '$.L1.mean' AS l1_signal, m.rois ->> '$.L2.mean' AS l2_signal,
       m.rois ->> '$.L3.mean' AS l3_signal, m.rois ->> '$.L4.mean' AS l4_signal,
       m.rois ->> '$.CSF.mean' AS csf_signal, m.rois,
       -- Beside the score, not validated: neither the model nor a flag knows them.
       iif(m.vbq_mean IS NULL, NULL, (SELECT json_group_object(r.key, (r.value ->> '$.mean') / (m.rois ->> '$.CSF.mean'))
                                      FROM json_each(m.rois) AS r WHERE r.key <> 'CSF')) AS segmental_vbq,
       m.beside ->> '$.s1_vbq' AS s1_vbq, m.beside -> '$.ebq' AS ebq,
       -- Where fluid is, by a T2 of the examination.
       m.beside ->> '$.t2.series_instance_uid' AS t2_series_instance_uid, m.beside -> '$.t2.fluid' AS fluid_on_t2,
       m.algorithm_name, m.algorithm_version, s.study_instance_uid, s.patient_authority, s.patient_id, s.study_date,
       s.scanner_stratum,
       (SELECT r.approves FROM fact_reading AS r WHERE r.reading_id = m.reading_id) AS approved_algorithm,
       m.current,
       -- The newest reading; no reading is NULL, which comes last. None of what a PACS has taken back.
       s.withdrawn = 0 AND m.rowid = (SELECT newest.rowid FROM derived_measurement AS newest
                  WHERE newest.series_instance_uid = m.series_instance_uid AND newest.current = 1
                  ORDER BY newest.reading_id DESC LIMIT 1) AS in_effect,
       m.series_instance_uid || '/' || coalesce('reading-' || m.reading_id, m.algorithm_name || '-' || m.algorithm_version
           || '-' || substr(m.instances_sha256, 1, 12)) AS measurement_id,
       m.reading_id,
       coalesce((SELECT r.added_at FROM fact_reading AS r WHERE r.reading_id = m.reading_id),
                (SELECT t.measured_at FROM state_first_measured AS t WHERE t.series_instance_uid = m.series_instance_uid
                 AND t.instances_sha256 = m.instances_sha256 AND t.algorithm_version = m.algorithm_version)) AS measured_at
FROM derived_measurement AS m
JOIN derived_series AS s USING (series_instance_uid)
UNION ALL
-- What deriving again did not arrive at: of another version of the algorithm, or of the series as it once stood.
SELECT k.series_instance_uid, k.sop_instance_uid, k.instance_number, k.frame_number, 'auto', k.status,
       -- Kept by an earlier version there are the words alone.
       (SELECT '[' || coalesce(group_concat(json_quote(iif(type = 'text', value, value ->> 'words')), ', '), '') || ']' FROM json_each(k.reasons)),
       (SELECT '[' || coalesce(group_concat(json_quote(iif(type = 'text', NULL, value ->> 'code')), ', '), '') || ']' FROM json_each(k.reasons)),
       k.vbq_mean, k.vbq_median, k.vbq_sd, k.levels_confidence,
       k.rois ->> '$.L1.mean', k.rois ->> '$.L2.mean', k.rois ->> '$.L3.mean', k.rois ->> '$.L4.mean',
       k.rois ->> '$.CSF.mean', k.rois,
       iif(k.vbq_mean IS NULL, NULL, (SELECT json_group_object(r.key, (r.value ->> '$.mean') / (k.rois ->> '$.CSF.mean'))
                                      FROM json_each(k.rois) AS r WHERE r.key <> 'CSF')),
       k.beside ->> '$.s1_vbq', k.beside -> '$.ebq',
       k.beside ->> '$.t2.series_instance_uid', k.beside -> '$.t2.fluid',
       k.algorithm_name, k.algorithm_version, s.study_instance_uid, s.patient_authority, s.patient_id, s.study_date,
       s.scanner_stratum, NULL, 0, 0,
       k.series_instance_uid || '/' || k.algorithm_name || '-' || k.algorithm_version || '-' || substr(k.instances_sha256, 1, 12),
       NULL, (SELECT t.measured_at FROM state_first_measured AS t WHERE t.series_instance_uid = k.series_instance_uid
              AND t.instances_sha256 = k.instances_sha256 AND t.algorithm_version = k.algorithm_version)
FROM record_measurement AS k
JOIN derived_series AS s USING (series_instance_uid)
WHERE NOT EXISTS (SELECT 1 FROM derived_measurement AS m
                  WHERE m.series_instance_uid = k.series_instance_uid AND m.instances_sha256 = k.instances_sha256
                    AND m.algorithm_name = k.algorithm_name AND m.algorithm_version = k.algorithm_version
                    AND m.reading_id IS NULL);

CREATE VIEW readings AS
SELECT r.reading_id, r.series_instance_uid, r.reader, r.added_at,
       r.rois ->> '$.slice' AS instance_number, r.rois ->> '$.frame' AS frame_number, r.rois AS circles,
       r.approves AS approved_algorithm, c.picture, m.status,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(m.reasons)) AS reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(m.reasons)) AS reason_codes,
       m.vbq_mean, m.vbq_median,
       coalesce(m.vbq_sd, (SELECT a.vbq_sd FROM derived_measurement AS a
                           WHERE a.series_instance_uid = r.series_instance_uid AND a.reading_id IS NULL AND a.rois = m.rois
                           ORDER BY a.current DESC LIMIT 1),
                (SELECT k.vbq_sd FROM record_measurement AS k
                 WHERE k.series_instance_uid = r.series_instance_uid AND k.rois = m.rois
                 ORDER BY k.kept_at DESC, k.instances_sha256 LIMIT 1)) AS vbq_sd,
       -- What was in effect before it: the last earlier reading that nobody took back, else the automatic measurement.
       iif(b.reading_id IS NULL, 'auto', 'reading:' || b.reader) AS previous_source,
       iif(b.reading_id IS NULL,
           (SELECT a.vbq_mean FROM derived_measurement AS a
            WHERE a.series_instance_uid = r.series_instance_uid AND a.reading_id IS NULL AND a.current = 1),
           (SELECT p.vbq_mean FROM derived_measurement AS p WHERE p.reading_id = b.reading_id)) AS previous_vbq_mean,
       w.reading_id IS NULL AND r.reading_id =
           (SELECT max(n.reading_id) FROM fact_reading AS n WHERE n.series_instance_uid = r.series_instance_uid
            AND n.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal)) AS in_effect,
       w.withdrawn_at, w.withdrawn_by, w.why AS withdrawn_why, t.step, t.independent
FROM fact_reading AS r
LEFT JOIN fact_reading_step AS t USING (reading_id)
LEFT JOIN fact_reading_check AS c USING (reading_id)
LEFT JOIN fact_reading_withdrawal AS w USING (reading_id)
LEFT JOIN derived_measurement AS m ON m.reading_id = r.reading_id
LEFT JOIN fact_reading AS b ON b.reading_id =
    (SELECT max(e.reading_id) FROM fact_reading AS e
     WHERE e.series_instance_uid = r.series_instance_uid AND e.reading_id < r.reading_id
       AND e.reading_id NOT IN (SELECT reading_id FROM fact_reading_withdrawal));

CREATE VIEW blood_counts AS
SELECT p.pseudonym AS patient, b.specimen, b.taken_at, b.date_only, b.status, b.basis,
       b.neutrophils_10e9_per_l, b.lymphocytes_10e9_per_l, b.platelets_10e9_per_l, b.leukocytes_10e9_per_l,
       b.nlr, b.plr,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(b.notes)) AS notes,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(b.notes)) AS reason_codes,
       b.monocytes_10e9_per_l, b.lmr, b.sii, b.siri
FROM derived_blood_count AS b
JOIN derived_person AS p USING (person);

CREATE VIEW operations AS
SELECT p.pseudonym AS patient, i.authority AS patient_authority, i.patient_id, o.booking, o.planned_at, o.date_only,
       o.cancelled, o.moved_from, o.procedure, o.surgeon_number, o.surgeon, o.service,
       o.procedure_class
FROM derived_operation AS o
JOIN derived_person AS p USING (person)
JOIN derived_identifier AS i ON i.person = o.person AND i.person = i.authority || '|' || i.patient_id;

CREATE VIEW links AS
SELECT l.episode AS id, p.pseudonym AS patient, l.booking, l.status,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(l.reasons)) AS reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(l.reasons)) AS reason_codes,
       l.surgery_date, l.series_instance_uid, l.mri_date, l.specimen, l.cbc_date, l.eligible,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(l.exclusion_reasons)) AS exclusion_reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(l.exclusion_reasons)) AS exclusion_reason_codes
FROM derived_link AS l
JOIN derived_person AS p USING (person);

CREATE VIEW fits AS
SELECT fit_id, night, made_at, status, reason, n_rows, n_used, df_resid, r2, adj_r2, snapshot_sha256, code_version,
       erased_rows
FROM record_fit;

CREATE VIEW fit_terms AS
SELECT fit_id, term, b, se, t, p, ci_low, ci_high, beta_std, vif, partial_r2
FROM record_fit_term;

CREATE VIEW thresholds AS
SELECT t.version, t.night, t.method, t.n, t.vbq, t.nlr, t.plr, t.ratios, t.strata, t.evidence, t.announced,
       t.proposed_at,
       coalesce((SELECT d.decision FROM fact_threshold_decision AS d WHERE d.version = t.version
                 ORDER BY d.decision_id DESC LIMIT 1), 'proposed') AS state,
       (SELECT d.decided_at FROM fact_threshold_decision AS d WHERE d.version = t.version
        ORDER BY d.decision_id DESC LIMIT 1) AS decided_at,
       (SELECT d.decided_by FROM fact_threshold_decision AS d WHERE d.version = t.version
        ORDER BY d.decision_id DESC LIMIT 1) AS decided_by
FROM record_threshold AS t;

CREATE VIEW corrections AS
SELECT d.decision_id, d.kind, d.scanner, d.evidence ->> '$.reference' AS reference, d.decision, d.value,
       d.evidence ->> '$.ci_low' AS ci_low, d.evidence ->> '$.ci_high' AS ci_high, d.evidence ->> '$.n' AS n,
       d.evidence ->> '$.source' AS source, d.decided_at, d.decided_by, d.decided_why,
       d.decision = 'adopted' AND d.decision_id = (SELECT max(n.decision_id) FROM fact_correction_decision AS n
                                                   WHERE n.kind = d.kind AND n.scanner = d.scanner) AS in_force
FROM fact_correction_decision AS d;

CREATE VIEW pool_exports AS
SELECT export_id, exported_at, n, json_array_length(content, '$.content.groups') AS sums, content
FROM record_pool_export;

CREATE VIEW reports AS
SELECT r.report_id, r.night, r.kind, r.made_at, r.fit_id, r.subject, r.text, r.html, r.counts,
       (SELECT count(*) FROM record_mail AS m WHERE m.report_id = r.report_id) AS mails,
       (SELECT count(*) FROM record_mail AS m
        JOIN state_outgoing AS d ON d.kind = 'mail' AND d.peer = '' AND d.key = CAST(m.mail_id AS TEXT)
        WHERE m.report_id = r.report_id AND d.status = 'done') AS mails_sent
FROM record_report AS r;

CREATE VIEW messages AS
SELECT substr(f.sha256, 1, 12) || coalesce('.' || m.position, '') AS id,
       (SELECT min(received_at) FROM fact_frame_receipt AS r WHERE r.frame_id = f.frame_id) AS received_at,
       (SELECT count(*) FROM fact_frame_receipt AS r WHERE r.frame_id = f.frame_id) AS times_received,
       m.type, m.version, m.control_id, m.sender, m.sent_at, m.processing_id,
       coalesce(m.status, 'pending') AS status,
       (SELECT group_concat(value ->> 'words', '; ') FROM json_each(m.reasons)) AS reason,
       (SELECT json_group_array(value ->> 'code') FROM json_each(m.reasons)) AS reason_codes
FROM fact_frame AS f
LEFT JOIN derived_message AS m USING (frame_id);

CREATE VIEW series AS
SELECT s.series_instance_uid, s.study_instance_uid, s.patient_authority, s.patient_id,
       s.patient_id IS NOT NULL AS identified, s.study_date, s.modality, s.description, s.scanner_stratum, s.instances,
       s.completeness, s.expected_instances,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(s.completeness_reasons)) AS completeness_reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(s.completeness_reasons)) AS completeness_reason_codes,
       s.last_received_at, s.role, s.chosen,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'words'), ', '), '') || ']' FROM json_each(s.reasons)) AS reasons,
       (SELECT '[' || coalesce(group_concat(json_quote(value ->> 'code'), ', '), '') || ']' FROM json_each(s.reasons)) AS reason_codes,
       s.protocol,
       CASE WHEN s.stale = 1 THEN 'arriving'
            WHEN s.withdrawn = 1 THEN 'taken back'
            ELSE coalesce((SELECT m.status FROM derived_measurement AS m
                           WHERE m.series_instance_uid = s.series_instance_uid AND m.current = 1
                           ORDER BY m.reading_id DESC LIMIT 1),
                          iif(s.chosen = 1, 'waiting for a measurement', 'set aside')) END AS state,
       (SELECT json_group_array(json_object('code', value ->> '$.code', 'words', value ->> '$.words'))
        FROM (SELECT value FROM json_each(s.rejections) UNION ALL SELECT value FROM json_each(s.fewer))) AS taken_back,
       s.accession_number
FROM derived_series AS s
UNION ALL
SELECT i.series_instance_uid, min(i.study_instance_uid), NULL, NULL, NULL, NULL, min(i.modality), NULL, NULL, count(*),
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'arriving', NULL, NULL
FROM derived_instance AS i
WHERE NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.series_instance_uid = i.series_instance_uid)
GROUP BY i.series_instance_uid
UNION ALL
SELECT u.series_instance_uid, min(u.study_instance_uid), NULL, NULL, NULL, NULL, min(u.modality), min(u.description),
       NULL, 0, 'incomplete', max(u.instances),
       json_group_array((
           SELECT group_concat(CASE part.value ->> 0 WHEN 'text' THEN part.value ->> 1
                               ELSE json_object('peer', u.peer, 'images', u.instances) ->> (part.value ->> 1) END, '')
           FROM state_words AS w, json_each(w.parts) AS part
           WHERE w.kind = 'reason' AND w.key = 'nothing-of-it-came')),
       json_group_array('nothing-of-it-came'), NULL, NULL, NULL, NULL, NULL, NULL, 'not sent', NULL, NULL
FROM (SELECT * FROM derived_unsent_series ORDER BY series_instance_uid, peer) AS u
WHERE NOT EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.series_instance_uid = u.series_instance_uid)
GROUP BY u.series_instance_uid;

CREATE VIEW results AS
SELECT r.result_id, r.kind, r.destination, r.subject AS series_instance_uid,
       r.content ->> '$.study_instance_uid' AS study_instance_uid, r.version, r.identifier,
       (SELECT e.identifier FROM record_result AS e WHERE e.result_id = r.replaces) AS replaces,
       r.status, r.content ->> '$.score.vbq_mean' AS vbq_mean, r.content ->> '$.score.vbq_median' AS vbq_median,
       r.content ->> '$.score.vbq_sd' AS vbq_sd, r.content ->> '$.blood.nlr' AS nlr, r.content ->> '$.blood.plr' AS plr,
       r.content ->> '$.standing.tier' AS tier, r.content ->> '$.standing.threshold_version' AS threshold_version,
       (SELECT json_group_array(value ->> 'code') FROM json_each(r.content, '$.reasons')) AS reason_codes,
       r.content ->> '$.protocol' AS protocol, r.algorithm, r.approved_by, r.made_at,
       NOT EXISTS (SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.destination = r.destination
                   AND n.subject = r.subject AND n.version > r.version) AS latest,
       CASE WHEN o.waiting > 0 THEN 'waiting' WHEN o.dead > 0 THEN 'given up'
            WHEN o.sent_at IS NULL THEN iif(EXISTS (
                SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.destination = r.destination
                AND n.subject = r.subject AND n.version > r.version), 'replaced before it was sent', 'to be sent')
            ELSE coalesce((SELECT a.answer FROM record_result_answer AS a WHERE a.result_id = r.result_id
                           ORDER BY a.answer_id DESC LIMIT 1), 'sent') END AS state,
       o.sent_at, o.attempts, o.last_error,
       (SELECT max(a.answered_at) FROM record_result_answer AS a WHERE a.result_id = r.result_id) AS answered_at,
       r.sha256, r.size_bytes
FROM record_result AS r
-- The first sending has the number of the result as its key, further ones that and what asked for them ("17/…").
LEFT JOIN (SELECT q.result_id, max(s.done_at) AS sent_at, sum(s.attempts) AS attempts, max(s.last_error) AS last_error,
                  sum(s.status = 'waiting') AS waiting, sum(s.status = 'dead') AS dead
           FROM record_result AS q
           JOIN state_outgoing AS s ON s.kind = q.queue AND s.peer = q.destination
            AND s.key >= CAST(q.result_id AS TEXT) AND s.key < q.result_id || '0'
           GROUP BY q.result_id) AS o USING (result_id);

CREATE VIEW audit AS
SELECT audit_id, at, name, address, action, subject FROM record_audit;

CREATE VIEW problems AS
-- Words of reasons that are kept stand beside them; those of reasons made here are filled in from state_words. advice: of
-- the problem, behind its reasons. codes: those of the reasons, else the code of the problem itself stands for them.
WITH found (step, source, code, reasons, advice, codes) AS (
SELECT step,
       CASE unit_kind
           WHEN 'object' THEN 'object ' || substr(unit_key, 1, 12)
           WHEN 'message' THEN 'message ' || substr(unit_key, 1, 12) || '.' || unit_part
           WHEN 'import' THEN 'import ' || unit_key || iif(unit_part = 0, '', ' line ' || unit_part)
           WHEN 'patient' THEN 'patient ' || unit_key || iif(unit_part IN (0, ''), '', ', specimen ' || unit_part)
           ELSE unit_kind || iif(unit_key = '', '', ' ' || unit_key)
       END AS source,
       code, reasons, NULL AS advice,
       (SELECT nullif(json_group_array(value ->> 'code'), '[]') FROM json_each(reasons)) AS codes
FROM (SELECT step, unit_kind, unit_key, unit_part, code, reasons FROM derived_problem
      WHERE code NOT IN ('corrected', 'own-result', 'other-name')
      UNION ALL
      -- Of an object in quarantine and of an imported file the problem says it.
      SELECT step, unit_kind, unit_key, unit_part, 'failed', reasons FROM state_failure
      WHERE final = 1 AND step NOT IN ('index', 'import'))
UNION ALL
-- What a sender names otherwise it names so image by image: once for each series, by one of them.
SELECT 'receive', iif(count(*) = 1, 'object ' || substr(min(p.unit_key), 1, 12), 'series ' || i.series_instance_uid),
       'other-name',
       iif(count(*) = 1, p.reasons, json_array(json_object('code', 'other-names', 'values', json_object(
           'images', count(*), 'example', p.reasons ->> '$[0].words')))),
       NULL, NULL
FROM derived_problem AS p JOIN fact_object AS o ON o.sha256 = p.unit_key
LEFT JOIN derived_instance AS i ON i.object_id = o.object_id
WHERE p.step = 'receive' AND p.unit_kind = 'object' AND p.code = 'other-name'
GROUP BY coalesce(i.series_instance_uid, p.unit_key)
UNION ALL
-- Bookings of procedures that nobody knows: once for each sender, until conf/procedures.toml knows them.
SELECT 'interpret', 'sender ' || coalesce(m.sender, ''), p.code,
       json_array(json_object('code', p.code, 'values', json_object(
           'procedures', count(DISTINCT p.procedure), 'bookings', count(*),
           'example', coalesce(min(nullif(substr(p.procedure, 1, 80), '')), '')))), NULL, NULL
FROM (SELECT frame_id, position,
             iif(json_extract(content, '$.understood') = 'unknown', 'unknown-procedure', 'unclear-procedure') AS code,
             json_extract(content, '$.procedure') AS procedure
      FROM derived_extract
      WHERE kind = 'appointment' AND json_extract(content, '$.understood') IN ('unknown', 'unclear')
        AND json_extract(content, '$.event') <> 'cancelled' AND json_extract(content, '$.source') <> 'order'
        AND json_extract(content, '$.order_placer') = '' AND json_extract(content, '$.order_filler') = '') AS p
JOIN derived_message AS m USING (frame_id, position)
GROUP BY m.sender, p.code
UNION ALL
SELECT 'receive', 'series ' || u.series_instance_uid, 'duplicate-uid',
       json_array(json_object('code', 'duplicate-uid', 'values', json_object(
           'images', count(DISTINCT u.sop_instance_uid), 'study', u.study_instance_uid,
           'why', CASE max(u.why) WHEN 'pixels' THEN 'with other pixels' WHEN 'gone' THEN 'with pixels that cannot be compared'
               ELSE 'the later one from a peer that may not correct the earlier' END))),
       NULL, NULL
FROM derived_undecided AS u GROUP BY u.series_instance_uid, u.study_instance_uid
UNION ALL
-- One line per study: what came last holds, and is other than what was known.
SELECT 'receive', 'study ' || i.study_instance_uid, 'replaced',
       json_array(json_object('code', 'replaced', 'values', json_object(
           'images', count(DISTINCT s.sop_instance_uid), 'peers', group_concat(DISTINCT s.sent_by), 'study', i.study_instance_uid,
           'changed', (SELECT group_concat(coalesce(w.parts ->> '$', changed), ', ') FROM (
               SELECT DISTINCT c.value AS changed FROM derived_superseded AS t
               JOIN derived_instance AS j ON j.object_id = t.replaced_by, json_each(t.changed) AS c
               WHERE t.told = 1 AND j.study_instance_uid = i.study_instance_uid ORDER BY c.value)
               LEFT JOIN state_words AS w ON w.kind = 'term' AND w.key = changed)))), NULL, NULL
FROM derived_superseded AS s JOIN derived_instance AS i ON i.object_id = s.replaced_by
WHERE s.told = 1 GROUP BY i.study_instance_uid
UNION ALL
SELECT 'link', 'series ' || p.series_instance_uid, r.value ->> '$.code', json_array(json(r.value)), NULL, NULL
FROM derived_shared_pixels AS p, json_each(p.reason) AS r
UNION ALL
SELECT 'catalogue', 'series ' || s.series_instance_uid, r.value ->> '$.code', json_array(json(r.value)), NULL, NULL
FROM derived_series AS s, json_each(s.rejections) AS r
WHERE s.rejections <> '[]' AND s.stale = 0 AND (s.withdrawn = 1 AND s.modality = 'MR' OR s.role <> 'other')
UNION ALL
SELECT 'completeness', 'series ' || s.series_instance_uid, r.value ->> '$.code', json_array(json(r.value)), NULL, NULL
FROM derived_series AS s, json_each(s.fewer) AS r
WHERE s.fewer <> '[]' AND s.stale = 0 AND (s.role = 't1_sagittal' OR s.chosen = 1)
UNION ALL
SELECT 'receive', 'object ' || substr(o.sha256, 1, 12), 'sent-after-erasure',
       json_array(json_object('code', 'sent-after-erasure', 'values', json_object('date', substr(e.erased_at, 1, 10)))), NULL, NULL
FROM fact_erasure AS e, json_each(e.hashes) AS h JOIN fact_object AS o ON o.sha256 = h.value
UNION ALL
SELECT 'receive', 'message ' || substr(f.sha256, 1, 12), 'sent-after-erasure',
       json_array(json_object('code', 'sent-after-erasure', 'values', json_object('date', substr(e.erased_at, 1, 10)))), NULL, NULL
FROM fact_erasure AS e, json_each(e.hashes) AS h JOIN fact_frame AS f ON f.sha256 = h.value
UNION ALL
SELECT 'backup', 'backup', r.value ->> '$.code', json_array(json(r.value)), NULL, NULL
FROM (SELECT reasons FROM state_backup WHERE status <> 'running' ORDER BY backup_id DESC LIMIT 1) AS b, json_each(b.reasons) AS r
UNION ALL
SELECT 'receive', 'object ' || substr(sha256, 1, 12), state,
       json_array(json_object('code', state, 'values', json_object())), NULL, NULL
FROM state_archive WHERE state IN ('missing', 'damaged', 'foreign')
UNION ALL
SELECT 'receive', 'peer ' || peer_address, code,
       json_array(json_object('code', iif(calling_ae = '', 'turned-away', 'turned-away-by-name'), 'values', json_object(
           'why', reason, 'calling', calling_ae, 'called', called_ae, 'times', times,
           'last', replace(substr(last_at, 1, 19), 'T', ' ')))), NULL, NULL
FROM state_refusal WHERE settled_at IS NULL
UNION ALL
-- Of one peer in one line, the newest five by name.
SELECT 'receive', 'peer ' || peer_address, 'context-refused',
       json_array(json_object('code', 'context-refused', 'values', json_object(
           'calling', calling_ae, 'aborted', max(aborted), 'offers', group_concat(iif(nearness <= 5, offer, NULL), ', '),
           'more', max(count(*) - 5, 0), 'times', max(times), 'last', replace(substr(max(last_at), 1, 19), 'T', ' ')))), NULL, NULL
FROM (SELECT *, row_number() OVER (PARTITION BY peer_address, calling_ae ORDER BY sop_class_uid NOT IN (
                                       '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.4.1', '1.2.840.10008.5.1.4.1.1.4.4'),
                                   last_at DESC, offer) AS nearness
      FROM state_refused_context WHERE problem = 1 AND settled_at IS NULL ORDER BY nearness)
GROUP BY peer_address, calling_ae
UNION ALL
SELECT 'receive', 'peer ' || c.peer_address, 'object-cut-off',
       json_array(json_object('code', 'object-cut-off', 'values', json_object(
           'calling', c.calling_ae, 'objects', count(*), 'last', replace(substr(max(c.last_at), 1, 19), 'T', ' ')))), NULL, NULL
FROM state_cut_off AS c
WHERE NOT EXISTS (SELECT 1 FROM fact_object AS o JOIN fact_object_receipt AS r USING (object_id)
                  WHERE o.sop_instance_uid = c.sop_instance_uid AND r.receipt_id > c.after_receipt)
GROUP BY c.peer_address, c.calling_ae
UNION ALL
SELECT DISTINCT 'index', 'study ' || s.study_instance_uid, 'unidentified',
       json_array(json_object('code',
           iif(EXISTS (SELECT 1 FROM derived_instance AS i WHERE i.study_instance_uid = s.study_instance_uid
                       AND i.headers ->> '$.patient_id' IS NOT NULL), 'patient-id-of-nobody', 'unidentified'),
           'values', json_object())), NULL, NULL
FROM derived_series AS s
WHERE s.patient_id IS NULL AND s.withheld = 0
  AND NOT EXISTS (SELECT 1 FROM derived_problem AS p
                  WHERE p.step = 'catalogue' AND p.unit_kind = 'study' AND p.unit_key = s.study_instance_uid)
UNION ALL
SELECT 'completeness', 'series ' || s.series_instance_uid, 'incomplete',
       s.completeness_reasons,
       json_array(json_object('code', 'bring-study', 'values', json_object('study', s.study_instance_uid))),
       (SELECT json_group_array(value ->> 'code') FROM json_each(s.completeness_reasons))
FROM derived_series AS s
WHERE s.completeness = 'incomplete' AND s.stale = 0 AND (s.role = 't1_sagittal' OR s.chosen = 1)
UNION ALL
SELECT 'completeness', 'study ' || u.study_instance_uid, 'not-sent',
       json_array(json_object('code', 'not-sent', 'values', json_object(
           'peer', u.peer, 'study', u.study_instance_uid, 'series', group_concat(
               coalesce(u.description, (SELECT parts ->> '$' FROM state_words WHERE kind = 'term' AND key = 'one without a name'),
                        'one without a name')
               || ' (' || u.instances || ' '
               || coalesce((SELECT parts ->> '$' FROM state_words WHERE kind = 'term' AND key = 'images'), 'images') || ')', ', ')))),
       NULL, NULL
FROM (SELECT * FROM derived_unsent_series ORDER BY study_instance_uid, peer, series_instance_uid) AS u
WHERE u.of_use = 1
  AND (u.t1_sagittal = 1
       OR NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = u.study_instance_uid AND s.chosen = 1))
  AND NOT EXISTS (SELECT 1 FROM derived_series AS s WHERE s.study_instance_uid = u.study_instance_uid AND s.stale = 1)
GROUP BY u.study_instance_uid, u.peer
UNION ALL
SELECT 'completeness', 'peer ' || peer, 'no-answer',
       json_array(json_object('code', 'no-answer', 'values', json_object('studies', count(*), 'fault', max(last_error)))), NULL, NULL
FROM state_outgoing WHERE kind = 'study_query' AND status = 'waiting' AND attempts >= 3 GROUP BY peer
UNION ALL
SELECT 'fetch', 'series ' || series_instance_uid, 'not-fetched',
       json_array(json_object('code', 'not-fetched', 'values', json_object('peer', peer, 'fault', error))), NULL, NULL
FROM state_fetch
UNION ALL
SELECT kind, 'peer ' || peer, 'unreachable',
       json_array(json_object('code', 'unreachable', 'values', json_object('since', failing_since, 'fault', last_error))), NULL, NULL
FROM state_outgoing_peer WHERE failures >= 3
UNION ALL
SELECT 'forward', 'object ' || substr(o.sha256, 1, 12), 'undeliverable',
       json_array(json_object('code', iif(f.status = 'dead', 'object-given-up', 'object-not-taken'), 'values', json_object(
           'peer', f.peer, 'attempts', f.attempts, 'fault', f.last_error))), NULL, NULL
FROM state_outgoing AS f JOIN fact_object AS o ON o.object_id = CAST(f.key AS INTEGER)
WHERE f.kind = 'forward' AND (f.status = 'dead' OR f.status = 'waiting' AND f.attempts >= 12)
UNION ALL
SELECT 'commitment', 'request ' || r.request_id, 'undeliverable',
       json_array(json_object('code', 'answer-not-heard', 'values', json_object(
           'calling', r.calling_ae, 'objects', json_array_length(r.instances), 'attempts', s.attempts, 'fault', s.last_error))),
       NULL, NULL
FROM state_outgoing AS s JOIN fact_commitment_request AS r ON r.request_id = CAST(s.key AS INTEGER)
WHERE s.kind = 'commitment' AND s.attempts >= 2
UNION ALL
-- Of kinds that have no words of their own above or below.
SELECT kind, kind || ' ' || key, 'undeliverable',
       json_array(json_object('code', iif(status = 'dead', 'given-up', 'not-taken'), 'values', json_object(
           'peer', peer, 'attempts', attempts, 'fault', coalesce(last_error, '')))), NULL, NULL
FROM state_outgoing
WHERE kind NOT IN ('study_query', 'forward', 'commitment', 'mail', 'result_check')
  AND kind NOT IN (SELECT DISTINCT queue FROM record_result) AND (status = 'dead' OR status = 'waiting' AND attempts >= 12)
UNION ALL
SELECT 'results', 'series ' || r.subject, 'undeliverable',
       json_array(json_object('code', iif(s.status = 'dead', 'result-given-up', 'result-not-taken'), 'values', json_object(
           'peer', s.peer, 'result', r.result_id, 'attempts', s.attempts, 'fault', coalesce(s.last_error, '')))), NULL, NULL
FROM state_outgoing AS s
JOIN record_result AS r ON r.queue = s.kind AND r.destination = s.peer AND r.result_id = CAST(s.key AS INTEGER)
WHERE (s.status = 'dead' OR s.status = 'waiting' AND s.attempts >= 3)
  -- What a newer version has replaced is nobody's business any more.
  AND NOT EXISTS (SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.kind <> 'ko' AND n.destination = r.destination
                  AND n.subject = r.subject AND n.version > r.version)
UNION ALL
SELECT 'results', 'peer ' || peer, 'result-unconfirmed',
       json_array(json_object('code', 'result-unconfirmed', 'values', json_object(
           'results', count(*), 'fault', max(last_error)))), NULL, NULL
FROM state_outgoing AS s
WHERE kind = 'result_check' AND status = 'waiting' AND attempts >= 3
  AND NOT EXISTS (SELECT 1 FROM record_result_answer AS a JOIN state_outgoing AS d ON d.kind = 'dicom_result' AND d.peer = s.peer
                  AND d.key = s.key WHERE a.result_id = CAST(s.key AS INTEGER) AND a.answered_at >= d.done_at)
GROUP BY peer
UNION ALL
-- Sent again by itself, and not kept all the same.
SELECT 'results', 'series ' || r.subject, 'result-not-kept',
       json_array(json_object('code', 'result-not-kept', 'values', json_object(
           'peer', r.destination, 'result', r.result_id, 'times', (
               SELECT count(*) FROM record_result_answer AS t WHERE t.result_id = r.result_id AND t.answer = 'missing')))), NULL, NULL
FROM record_result AS r
WHERE (SELECT a.answer FROM record_result_answer AS a WHERE a.result_id = r.result_id ORDER BY a.answer_id DESC LIMIT 1) = 'missing'
  AND NOT EXISTS (SELECT 1 FROM record_result AS n WHERE n.kind = r.kind AND n.destination = r.destination
                  AND n.subject = r.subject AND n.version > r.version)
UNION ALL
SELECT 'commitment', 'request ' || r.request_id, 'not-kept',
       json_array(json_object('code', 'not-kept', 'values', json_object(
           'calling', r.calling_ae, 'objects', json_array_length(r.instances), 'failed', json_array_length(c.failed)))), NULL, NULL
FROM fact_commitment_request AS r JOIN record_commitment AS c USING (request_id) WHERE json_array_length(c.failed) > 0
UNION ALL
SELECT 'link', 'patient ' || p.pseudonym, 'candidate',
       json_array(json_object('code', 'candidate', 'values', json_object(
           'number', a.patient_id, 'authority', a.authority, 'other', b.patient_id))), NULL, NULL
-- The longer number of a pair has a zero before it: those are few, and the other one is looked up.
FROM derived_identifier AS b
CROSS JOIN derived_identifier AS a ON a.authority = b.authority AND ltrim(a.patient_id, '0') = ltrim(b.patient_id, '0')
                             AND length(b.patient_id) > length(a.patient_id) AND b.person <> a.person
JOIN derived_person AS p ON p.person = a.person
WHERE substr(b.patient_id, 1, 1) = '0' AND NOT EXISTS (SELECT 1 FROM fact_identity_decision AS d WHERE d.authority = a.authority
                  AND d.patient_id = b.patient_id AND d.other_patient_id = a.patient_id)
UNION ALL
SELECT 'interpret', 'message ' || substr(f.sha256, 1, 12) || '.' || m.position, m.status,
       m.reasons, NULL, (SELECT json_group_array(value ->> 'code') FROM json_each(m.reasons))
FROM derived_message AS m JOIN fact_frame AS f USING (frame_id)
WHERE m.status IN ('held', 'refused')
  AND NOT EXISTS (SELECT 1 FROM state_failure AS x WHERE x.step = 'interpret' AND x.final = 1
                  AND x.unit_kind = 'message' AND x.unit_key = f.sha256 AND x.unit_part = CAST(m.position AS TEXT))
UNION ALL
SELECT 'measure', 'series ' || m.series_instance_uid, m.status,
       (SELECT json_group_array(json_object('code', c.value, 'words', m.reasons ->> c.key)) FROM json_each(m.reason_codes) AS c),
       NULL, m.reason_codes
FROM measurements AS m
WHERE m.status IN ('review', 'rejected') AND m.in_effect = 1
  AND NOT EXISTS (SELECT 1 FROM state_failure AS x WHERE x.step = 'measure' AND x.final = 1
                  AND x.unit_kind = 'series' AND x.unit_key = m.series_instance_uid)
  -- The image of one candidate was rejected, that of the next was not: the study has its score, or waits for it there.
  AND NOT (m.status = 'rejected' AND m.source = 'auto' AND EXISTS (
      SELECT 1 FROM derived_series AS s JOIN derived_measurement AS other USING (series_instance_uid)
      WHERE s.study_instance_uid = m.study_instance_uid AND other.current = 1 AND other.status <> 'rejected'))
UNION ALL
-- A lumbar examination of which nothing is measured, with what speaks against the series that comes nearest.
SELECT 'measure', 'study ' || s.study_instance_uid, 'no-t1',
       json_array(json_object('code', 'no-t1', 'values', json_object('series', s.series_instance_uid, 'against',
           (SELECT group_concat(value ->> 'plain', '; ') FROM json_each(s.reasons) WHERE value ->> 'holds' = 0)))), NULL,
       (SELECT json_group_array(value ->> 'code') FROM json_each(s.reasons) WHERE value ->> 'holds' = 0)
FROM (SELECT study_instance_uid, series_instance_uid, reasons,
             row_number() OVER (PARTITION BY study_instance_uid ORDER BY
                 (SELECT count(*) FROM json_each(reasons) WHERE value ->> 'holds' = 0), series_instance_uid) AS nearness
      FROM (SELECT study_instance_uid FROM derived_series GROUP BY study_instance_uid
            HAVING max(stale = 1 OR withdrawn = 1 OR role <> 'other') = 0)
      CROSS JOIN derived_series USING (study_instance_uid) WHERE modality = 'MR') AS s
WHERE s.nearness = 1
  AND EXISTS (SELECT 1 FROM derived_series AS other WHERE other.study_instance_uid = s.study_instance_uid
              AND EXISTS (SELECT 1 FROM json_each(other.reasons) WHERE value ->> 'code' = 'lumbar-named'))
  AND NOT EXISTS (SELECT 1 FROM derived_series AS other JOIN derived_measurement USING (series_instance_uid)
                  WHERE other.study_instance_uid = s.study_instance_uid)
UNION ALL
SELECT 'link', 'patient ' || b.patient, 'held-blood-count',
       (SELECT json_group_array(json_object('code', c.value, 'words', b.notes ->> c.key)) FROM json_each(b.reason_codes) AS c),
       iif(EXISTS (SELECT 1 FROM json_each(b.reason_codes) WHERE value = 'specimen-under-newer-number'), NULL,
           json_array(json_object('code', 'approve-count', 'values', json_object('specimen', b.specimen)))),
       b.reason_codes
FROM blood_counts AS b
WHERE b.status = 'held' AND NOT EXISTS (SELECT 1 FROM json_each(b.reason_codes) WHERE value IN (
    'another-person', 'number-of-several-people', 'merge-of-different-people', 'contradictory-messages'))
  -- Of a sender whose counts are off for several patients it is said below, once.
  AND NOT EXISTS (SELECT 1 FROM derived_sender_count AS c JOIN derived_person AS p USING (person)
                  WHERE p.pseudonym = b.patient AND c.specimen = b.specimen AND c.doubt IS NOT NULL
                    AND (SELECT count(DISTINCT o.person) FROM derived_sender_count AS o
                         WHERE o.sender = c.sender AND o.doubt IS NOT NULL) >= 3)
UNION ALL
-- Blood counts of numbers of which nothing else is known: mistyped ones, while they are few (a laboratory that sends of
-- everybody has many) and new enough for an operation to wait for them. Pairs of numbers are said above.
SELECT 'link', 'blood counts', 'counts-of-nobody',
       json_array(json_object('code', 'counts-of-nobody', 'values', json_object(
           'patients', count(*), 'example', min(p.pseudonym)))), NULL, NULL
FROM derived_person AS p
WHERE p.only_counts = 1
  AND (SELECT count(*) FROM derived_person WHERE only_counts = 1) * 5 <= (SELECT count(*) FROM derived_person)
  AND EXISTS (SELECT 1 FROM derived_blood_count AS b WHERE b.person = p.person AND b.taken_at >= (
                  SELECT date(m.sent_at, '-30 days') FROM derived_message AS m
                  WHERE m.sent_at IS NOT NULL ORDER BY m.frame_id DESC LIMIT 1))
  AND NOT EXISTS (SELECT 1 FROM derived_identifier AS a
                  JOIN derived_identifier AS b ON b.authority = a.authority AND b.person <> a.person
                                               AND ltrim(b.patient_id, '0') = ltrim(a.patient_id, '0')
                  WHERE a.person = p.person)
HAVING count(*) > 0
UNION ALL
SELECT 'interpret', 'sender ' || coalesce(m.sender, ''), u.code,
       json_array(json_object('code', 'not-read-of-sender', 'values', json_object(
           'messages', count(*), 'example', min(u.reasons ->> '$[0].words')))), NULL, NULL
FROM derived_unread AS u JOIN derived_message AS m USING (frame_id, position)
-- Documents beside counts that are read are no loss.
WHERE u.code <> 'count-as-document'
   OR NOT EXISTS (SELECT 1 FROM derived_sender_count AS c WHERE c.sender = coalesce(m.sender, '') AND c.ratios = 1)
-- Of an unknown code the reason is its own: one line for each.
GROUP BY m.sender, u.code, iif(u.code = 'unknown-code', u.reasons -> '$[0].values', '')
UNION ALL
-- A sender of blood counts of several patients, of which none has both ratios.
SELECT 'link', 'sender ' || coalesce(m.sender, ''), 'sender-without-counts',
       json_array(json_object('code', 'sender-without-counts', 'values', json_object(
           'patients', count(DISTINCT e.authority || '|' || e.patient_id), 'example', coalesce((SELECT group_concat(n.value ->> 'words', '; ') FROM json_each((
               -- Its patients first: counts and specimens of one joined would be their product.
               SELECT min(b.notes) FROM derived_blood_count AS b WHERE b.person IN (
                   SELECT i.person FROM derived_message AS y JOIN derived_extract AS x USING (frame_id, position)
                   JOIN derived_identifier AS i USING (authority, patient_id)
                   WHERE x.kind = 'specimen' AND y.sender IS m.sender))) AS n),
           (SELECT parts ->> '$' FROM state_words WHERE kind = 'term' AND key = 'no row is understood'), 'no row is understood')))),
       NULL, NULL
-- The senders one by one, by their index: of those with counts, which are most, no message is looked at.
FROM (WITH RECURSIVE one (sender) AS (
          SELECT min(sender) FROM derived_message UNION ALL
          SELECT (SELECT min(sender) FROM derived_message WHERE sender > one.sender) FROM one WHERE one.sender IS NOT NULL)
      SELECT DISTINCT sender FROM one) AS n
CROSS JOIN derived_message AS m ON m.sender IS n.sender
CROSS JOIN derived_extract AS e USING (frame_id, position)
WHERE e.kind = 'specimen'
  AND NOT EXISTS (SELECT 1 FROM derived_sender_count AS c WHERE c.sender = coalesce(n.sender, '') AND c.ratios = 1)
GROUP BY m.sender HAVING count(DISTINCT e.authority || '|' || e.patient_id) >= 3
UNION ALL
SELECT 'link', 'sender ' || c.sender, 'sender-counts-off',
       json_array(json_object('code', 'sender-counts-off', 'values', json_object(
           'people', count(DISTINCT c.person),
           'of', (SELECT count(DISTINCT a.person) FROM derived_sender_count AS a WHERE a.sender = c.sender),
           'what', (SELECT group_concat(what, ', ') FROM (
               SELECT DISTINCT coalesce(w.parts ->> '$', d.doubt ->> '$.values.what')
                      || coalesce(' ' || coalesce(y.parts ->> '$', d.doubt ->> '$.values.way'), '') AS what
               FROM derived_sender_count AS d
               LEFT JOIN state_words AS w ON w.kind = 'term' AND w.key = d.doubt ->> '$.values.what'
               LEFT JOIN state_words AS y ON y.kind = 'term' AND y.key = d.doubt ->> '$.values.way'
               WHERE d.sender = c.sender AND d.doubt IS NOT NULL ORDER BY 1)),
           'held', (SELECT group_concat(pseudonym, ', ') FROM (
               SELECT DISTINCT p.pseudonym FROM derived_sender_count AS d JOIN derived_person AS p USING (person)
               WHERE d.sender = c.sender AND d.doubt IS NOT NULL ORDER BY 1))))), NULL,
       (SELECT json_group_array(code) FROM (
               SELECT DISTINCT d.doubt ->> '$.code' AS code FROM derived_sender_count AS d
               WHERE d.sender = c.sender AND d.doubt IS NOT NULL ORDER BY 1))
FROM derived_sender_count AS c WHERE c.doubt IS NOT NULL
GROUP BY c.sender HAVING count(DISTINCT c.person) >= 3
UNION ALL
-- Of what it is not sure whose it is, where no operation is held for it: that says it below.
SELECT 'link', 'patient ' || p.pseudonym,
       CASE d.kind WHEN 'number' THEN 'number-of-several-people' WHEN 'merge' THEN 'merge-of-different-people'
                   ELSE 'another-person' END,
       json_array(json_object('code', 'whose-it-is', 'values', json_object(
           'source', d.sources ->> '$[0]', 'more', json_array_length(d.sources) - 1,
           'why', (SELECT group_concat(value ->> 'words', '; ') FROM json_each(d.reason))))), NULL,
       (SELECT json_group_array(value ->> 'code') FROM json_each(d.reason))
FROM derived_doubt AS d JOIN derived_person AS p USING (person)
WHERE NOT EXISTS (SELECT 1 FROM derived_link AS l WHERE l.person = d.person AND l.status = 'held'
                  -- Also where it is why a blood count is in doubt.
                  AND EXISTS (SELECT 1 FROM json_tree(l.reasons) WHERE key = 'code' AND atom = d.reason ->> '$[0].code'))
UNION ALL
SELECT 'link', 'episode ' || l.episode, 'held', l.reasons, NULL,
       (SELECT json_group_array(value ->> 'code') FROM json_each(l.reasons))
FROM derived_link AS l WHERE l.status = 'held'
  AND NOT EXISTS (SELECT 1 FROM state_failure AS x
                  WHERE x.step = 'link' AND x.final = 1 AND x.unit_kind = 'episode' AND x.unit_key = l.episode)
UNION ALL
SELECT 'mail', 'mail ' || m.message_id, 'undeliverable',
       json_array(json_object('code', 'mail-not-taken', 'values', json_object('fault', coalesce(d.last_error, '')))), NULL, NULL
FROM state_outgoing AS d JOIN record_mail AS m ON m.mail_id = CAST(d.key AS INTEGER)
WHERE d.kind = 'mail' AND d.status = 'dead'
UNION ALL
SELECT 'nightly', iif(kind = 'clock', 'clock', 'night ' || night), iif(kind = 'clock', 'clock-ahead', 'failed'),
       json_array(json_object('code', iif(kind = 'clock', 'clock-ahead', 'night-failed'), 'values', json_object(
           'fault', coalesce(detail, '')))), NULL, NULL
FROM state_run WHERE status = 'failed'
)
SELECT step, source, code,
       coalesce((SELECT group_concat(coalesce(r.value ->> 'words', (
           SELECT group_concat(CASE part.value ->> 0
               WHEN 'text' THEN part.value ->> 1
               WHEN 'value' THEN r.value -> 'values' ->> (part.value ->> 1)
               WHEN 'term' THEN coalesce((SELECT t.parts ->> '$' FROM state_words AS t WHERE t.kind = 'term'
                                          AND t.key = r.value -> 'values' ->> (part.value ->> 1)),
                                         r.value -> 'values' ->> (part.value ->> 1))
               WHEN 'one' THEN iif(r.value -> 'values' ->> (part.value ->> 1) = 1, part.value ->> 2, part.value ->> 3)
               WHEN 'some' THEN CASE coalesce(r.value -> 'values' ->> (part.value ->> 1), '')
                   WHEN '' THEN '' WHEN 0 THEN '' WHEN 1 THEN part.value ->> 2
                   ELSE replace(part.value ->> 3, '#', r.value -> 'values' ->> (part.value ->> 1)) END
               END, '')
           FROM state_words AS w, json_each(w.parts) AS part
           WHERE w.kind = 'reason' AND w.key = r.value ->> 'code'), r.value ->> 'code'), '; ')
        FROM (SELECT value FROM json_each(found.reasons) UNION ALL SELECT value FROM json_each(found.advice)) AS r), '') AS detail,
       coalesce(codes, json_array(code)) AS reason_codes
FROM found;
