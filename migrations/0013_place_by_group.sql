-- The check that a new consumer has its place looks for both columns, and its plan may be made while the
-- table is empty, when any index seems as good as another. With the group alone in this one, it then
-- read all places of the group for each new one.
DROP INDEX consumer_places_group;
CREATE INDEX consumer_places_group ON consumer_places (group_id, partition_id);
