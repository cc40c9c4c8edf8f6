-- Nothing of these is stored any more. $1 ids.
DELETE FROM leftovers WHERE id = ANY ($1::bigint[])
