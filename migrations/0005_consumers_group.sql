-- Statements that know partition and group keep the group out of the choice of index (group_id + 0),
-- so that a plan made while the table was small cannot read the rows of a group, which are as many as
-- there are partitions. What is left for this index is to find all rows of a group.
DROP INDEX consumers_group;
CREATE INDEX consumers_group ON consumers (group_id);
