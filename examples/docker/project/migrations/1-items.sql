CREATE TABLE items (
  name text PRIMARY KEY,
  count integer NOT NULL CHECK (count >= 0)
);
