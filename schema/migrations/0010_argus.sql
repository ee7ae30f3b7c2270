-- What Argus asks its table `argus_events`, it may ask this view: the same seven columns, types and volumes. An interaction
-- is one row with the event 'interaction'; a command that succeeded has a second one, 'app_command', at its end.
CREATE VIEW IF NOT EXISTS argus_events_view
(
    ts          String COMMENT 'Receipt, or end of the command; ISO 8601, UTC',
    event       LowCardinality(String) COMMENT 'interaction, or app_command for a command that succeeded',
    guild_id    String COMMENT 'Snowflake of the guild; empty: not in a guild',
    type        LowCardinality(String) COMMENT 'Type of the interaction; empty for app_command',
    command     String COMMENT 'Command with subcommands, of app_command only',
    duration_ms Float64 COMMENT 'Receipt to the end of the handler, whole ms, of app_command only',
    cluster_id  LowCardinality(String) COMMENT 'Cluster (process of the bot) that received it'
)
AS SELECT
    concat(replaceOne(toString(toDateTime64(moment, 6, 'UTC')), ' ', 'T'), '+00:00') AS ts,
    toLowCardinality(event) AS event,
    if(guild = 0, '', toString(guild)) AS guild_id,
    toLowCardinality(kind) AS type,
    command,
    duration_ms,
    cluster_id
FROM
(
    SELECT
        time AS moment, 'interaction' AS event, toUInt64(guild_id) AS guild, toString(interactions.type) AS kind, '' AS command,
        toFloat64(0) AS duration_ms, cluster AS cluster_id
    FROM interactions
    UNION ALL
    SELECT
        time + toIntervalMillisecond(interactions.duration_ms), 'app_command', toUInt64(guild_id), '', toString(interactions.command),
        toFloat64(interactions.duration_ms), cluster
    FROM interactions
    WHERE type = 'application_command' AND outcome = 'success'
)
COMMENT 'Interactions as Argus stores them in argus_events';
