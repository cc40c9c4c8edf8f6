-- For the transaction of a chore: a crash that undoes it does no harm, so its locks last no longer
-- than its work; and it waits for nobody long. $1 ms.
SELECT set_config('synchronous_commit', 'off', true), set_config('lock_timeout', $1, true)
