# Folders of workers, and processes that know one of them: ids come one a line, what is left goes out one a line.
ids=$(cat)
for id in $ids; do
  [ -e "$1/$id/spec" ] && echo "folder $id"
done
printf '%s\n' "$ids" | sed "s|^|MUSTER_PYTHON_WORKER=$1/|" | grep -lsF -f - /proc/[0-9]*/environ
exit 0
