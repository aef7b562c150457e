-- Jobs of fifty hours: busier by day than by night, with errors that grew frequent for a while, jobs that never end, and some
-- whose events contradict each other. All of them have ended, or are open, before now.
INSERT INTO jobs (source, resource, created_hour, job_id, created_at, job_type, width, height, media_seconds, image_count, started_at,
    completed_at, errored_at, error, credits_estimated, credits_completed, first_received_at, last_received_at, fold_version)
WITH
    [('video', 'TEXT_TO_VIDEO', 51, 70), ('video', 'AUTO_SUBTITLE', 45, 25), ('video', 'IMAGE_TO_VIDEO', 74, 90),
     ('video', 'VIDEO_EDITOR', 85, 20), ('video', 'FACE_SWAP', 96, 80), ('video', 'TALKING_PHOTO', 174, 30),
     ('video', 'LIP_SYNC', 229, 25), ('video', 'ANIMATION', 596, 6), ('image', 'FACE_EDITOR', 3, 30), ('image', 'FACE_SWAP', 4, 110),
     ('image', 'BACKGROUND_REMOVER', 4, 40), ('image', 'AI_IMAGE_GENERATOR', 5, 150), ('image', 'AI_IMAGE_EDITOR', 9, 70),
     ('image', 'CLOTHES_CHANGER', 13, 30), ('image', 'IMAGE_UPSCALER', 22, 40), ('audio', 'VOICE_GENERATOR', 21, 60),
     ('audio', 'VOICE_CLONER', 21, 40)] AS types,
    map('video', [('no_source_face', 'No face was found in the source image', 30), ('no_target_face', 'No face was found in the video', 20),
            ('invalid_video_file', 'The video could not be read', 15), ('file_too_large', 'The file is larger than the plan allows', 5),
            ('processing_timeout', 'The job took too long and was stopped', 6)],
        'image', [('no_source_face', 'No face was found in the source image', 45), ('invalid_image_file', 'The image could not be read', 15),
            ('content_policy_violation', 'The request is against the content policy', 12),
            ('insufficient_credits', 'There are not enough credits left', 6)],
        'audio', [('text_too_long', 'The text is longer than 1000 characters', 40), ('invalid_voice', 'There is no such voice', 25)]) AS errors,
    (n, salt) -> (cityHash64(n, salt) % 1000000 + 1) / 1000001 AS uniform,
    (n, salt) -> sqrt(-2 * log(uniform(n, salt))) * cos(2 * pi() * uniform(n, salt + 100)) AS normal,
    (weights, share) -> arrayFirstIndex(sum -> sum > share * arraySum(weights), arrayCumSum(weights)) AS drawn
SELECT if(number % 5 = 0, 'magichour-staging', 'magichour'), resource, toStartOfHour(created),
    concat('cm', lower(substring(hex(SHA256(toString(number))), 1, 23))), created, type.2,
    if(resource = 'audio', NULL, [1280, 1024, 720][number % 3 + 1]), if(resource = 'audio', NULL, [720, 1024, 1280][number % 3 + 1]),
    if(resource = 'image', NULL, 2 + number % 20), if(resource = 'image', 1 + number % 4, NULL),
    if(number % 40 = 3 OR started > now64(3), NULL, started),
    if(ends AND NOT failed, ended, NULL), if(ends AND failed, ended, NULL),
    if(ends AND failed, concat(error.1, '\0', error.2), ''), 50 + number % 400, if(ends AND NOT failed, 50 + number % 400, NULL),
    created, if(ends, ended, created), 1
FROM
(
    SELECT number, toDateTime64(now() - 180000, 3, 'UTC') + toIntervalMillisecond(toInt64(uniform(number, 1) * 179990000)) AS created,
        types[drawn(types.4, uniform(number, 2))] AS type, type.1 AS resource,
        1 + 0.6 * sin(2 * pi() * (toUnixTimestamp(created) - 28800) / 86400) AS load,
        created + toIntervalMillisecond(if(number % 4001 = 7, -1800, toInt64(400 * exp(0.9 * normal(number, 3) + load)))) AS started,
        greatest(started, created) + toIntervalMillisecond(toInt64(1000 * type.3 * exp(0.3 * normal(number, 4)))) AS ended,
        ended < now64(3) - 1 AND number % 2503 != 11 AS ends,
        dateDiff('second', created, now()) BETWEEN 11000 AND 14000 AND type.2 = 'FACE_SWAP' AS incident,
        uniform(number, 5) < if(incident, 0.4, if(type.2 = 'FACE_SWAP', 0.07, 0.035)) AS failed,
        errors[resource] AS kinds,
        if(incident AND uniform(number, 6) < 0.9, ('no_target_face', 'No face was found in the target', 1),
            kinds[drawn(kinds.3, uniform(number, 7))]) AS error
    FROM numbers(60000)
    WHERE uniform(number, 8) * 1.6 < load
)
SETTINGS max_partitions_per_insert_block = 0
