CREATE TABLE moves (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  item text NOT NULL REFERENCES items (name),
  count integer NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
