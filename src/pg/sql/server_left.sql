-- A server that stops leads no more. $1 its id.
DELETE FROM servers WHERE id = $1
