"""What runs on a login node to fill a directory there: shell scripts, and what their exit codes say.

They need a POSIX shell and the tools of GNU/Linux (coreutils, findutils, tar, gzip), and no Python.
"""

from __future__ import annotations

_MAX_MARKER = 1 << 16

SAME, OTHER, NO_BASE, DAMAGED, DIFFERENT, NO_TOOL = 90, 91, 92, 93, 94, 95

# One record for each path, as those of a `Shipment`. A directory has no size or time that says anything.
_LIST = r"""
list() {
  find . -mindepth 1 ! -path ./.topcoat.json \( \
    -type f -printf '%P\tf%m %s %T@\0' -o -type d -printf '%P\td%m\0' -o -type l -printf '%P\tl%l\0' \
    -o -printf '%P\t?\0' \) | sort -z
}
"""
_STATE = r"""
state() {
  if [ -f "$1/.topcoat.json" ]; then
    grep -qF "$2" "$1/.topcoat.json" && return 90
    return 91
  fi
  [ -e "$1" ] || [ -L "$1" ] || return 0
  [ -d "$1" ] && [ -z "$(ls -A "$1")" ] || return 91
}
"""
# If it is asked for, the newest snapshot beside the target, or of another job in the same layout. Of a snapshot that is
# there already, its marker and the records of its files.
LOOK = f"""export LC_ALL=C
{_LIST}{_STATE}
newest=
if [ "$2" ]; then
  parent=${{1%/*}} name=${{1##*/}}
  for marker in "$parent"/*/.topcoat.json "${{parent%/*}}"/*/"$name"/.topcoat.json; do
    [ ! -f "$marker" ] || {{ [ "$newest" ] && [ ! "$marker" -nt "$newest" ]; }} || newest=$marker
  done
fi
state "$1" ''; code=$?
[ $code != 90 ] || cd "$1" || exit 1
{{
  printf '%s\\0' "${{newest%/.topcoat.json}}"
  [ $code != 90 ] || {{ head -c {_MAX_MARKER} .topcoat.json; printf '\\0'; list; }}
}} | gzip -1 || exit 1
exit $code
"""

# The digests, modes, sizes and times of those files that a snapshot has.
CONTENTS = r"""export LC_ALL=C
cd "$1" 2>/dev/null && gzip -dc | xargs -0 -r sh -c '
  sha256sum -z -- "$@"; stat --printf "%a %s %Y  %n\0" -- "$@"' sh 2>/dev/null
exit 0
"""

DELIVER = f"""umask 022; export LC_ALL=C
target=$1 snapshot=$2 base=$3 link=$4 paths=$5 folders=$6 directories=$7 decompress=$8 expected=$9 marker=${{10}}
{_LIST}{_STATE}
for tool in cp find grep gzip head mkfifo mktemp mv sha256sum sort tar tee xargs; do
  command -v $tool >/dev/null || {{ printf '%s\\n' $tool >&2; exit {NO_TOOL}; }}
done
# Several times as fast.
command -v openssl >/dev/null && digest='openssl dgst -sha256 -r' || digest=sha256sum
state "$target" "$snapshot" || exit
[ -z "$base" ] || [ -d "$base" ] || exit {NO_BASE}
parent=${{target%/*}} new= made=
[ -d "$parent/" ] || made=$parent
trap 'cd /
[ -z "$new" ] || {{ chmod -R u+rwX -- "$new" && rm -rf -- "$new"; }}
[ -z "$made" ] || rmdir -- "$made" 2>/dev/null' EXIT
mkdir -p -- "$parent/" && new=$(mktemp -d -- "$parent/.${{target##*/}}.XXXXXXXX") || exit 1
trap 'exit 1' HUP INT PIPE TERM
mkdir "$new/code" && printf %s "$marker" >"$new/code/.topcoat.json" && mkfifo "$new/copy" && cd "$new/code" || exit 1
# Blocks, each behind a line with its size. The last line has the digest of them all.
blocks() {{
  while read -r size sum; do
    [ "$size" != 0 ] || {{ printf %s "$sum" >../sent; return; }}
    head -c "$size"
  done
}}
$digest <../copy >../received &
blocks | tee ../copy | {{
  head -c "$paths" | gzip -dc >../paths && head -c "$folders" | gzip -dc >../folders &&
  head -c "$directories" >../directories &&
  $decompress | tar -b 128 -xpf - --no-same-owner
}}
unpacked=$?
wait
read -r received rest <../received
[ "$received" = "$(cat ../sent 2>/dev/null)" ] || exit {DAMAGED}
[ $unpacked = 0 ] || exit 1
if [ -s ../paths ]; then
  jobs=$(nproc) || jobs=1
  [ "$jobs" -le 4 ] || jobs=4
  # Made first: two cp would both try to make a directory.
  xargs -0 -r mkdir -p -- <../folders || exit 1
  (cd "$base" && xargs -0 -P "$jobs" -n 1000 cp -P --preserve=mode,timestamps --parents $link -t "$new/code" --) \\
    <../paths 2>../errors ||
    ! grep -E 'No space left|quota' ../errors >&2 || exit 1
fi
gzip -dc <../directories | tar -xpf - --no-same-owner || exit 1
[ "$(list | sha256sum)" = "$expected  -" ] || {{ list | gzip -1; exit {DIFFERENT}; }}
chmod 755 . && chmod 444 .topcoat.json || exit 1
# An empty directory keeps its group and mode.
[ ! -d "$target" ] || {{ chgrp --reference="$target" .; chmod --reference="$target" .; }} 2>/dev/null
if ! mv -T -- "$new/code" "$target"; then
  # Another process was faster.
  state "$target" "$snapshot"; code=$?
  [ $code != 0 ] || code=1
  exit $code
fi
"""
