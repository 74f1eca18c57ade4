-- Last: everything belongs to probectl_owner, which owns nothing else and cannot log in; data is part of a dump; the
-- first partitions are made; the workers learn that there is work.
DO $$
DECLARE
  member record;
BEGIN
  FOR member IN
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS description, c.relkind, p.prokind, n.nspname, c.relname
      FROM pg_depend d
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
      LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'probectl')
       AND d.deptype = 'e'
  LOOP
    IF member.relkind IN ('r', 'p') THEN
      EXECUTE format('ALTER TABLE %s OWNER TO probectl_owner', member.objid::regclass);
    ELSIF member.prokind IS NOT NULL THEN
      EXECUTE format('ALTER FUNCTION %s OWNER TO probectl_owner', member.objid::regprocedure);
    END IF;
  END LOOP;
END
$$;
ALTER SCHEMA probectl OWNER TO probectl_owner;
ALTER SCHEMA probectl_internal OWNER TO probectl_owner;
ALTER SCHEMA probectl_api OWNER TO probectl_owner;

SELECT probectl_internal.partitions_keep();

-- A partition that is a member of the extension could not be dropped when its time is over.
DO $$
DECLARE
  leaf record;
BEGIN
  FOR leaf IN SELECT i.inhrelid::regclass AS name FROM pg_inherits i WHERE i.inhparent IN ('probectl.result'::regclass, 'probectl.ledger'::regclass) LOOP
    EXECUTE format('ALTER EXTENSION probectl DROP TABLE %s', leaf.name);
  END LOOP;
END
$$;

SELECT probectl.worker_wake();
