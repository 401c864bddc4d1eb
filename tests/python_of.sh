#!/bin/sh
# The path of a Python of this version: sh tests/python_of.sh 3.12
for found in "$(command -v "python$1")" "$HOME"/.pyenv/versions/"$1".*/bin/python /root/.pyenv/versions/"$1".*/bin/python; do
  if [ -x "$found" ] && "$found" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2> /dev/null; then
    echo "$found"
    exit 0
  fi
done
echo "there is no Python $1: not on the PATH as python$1, not under ~/.pyenv/versions. NEWER=\"…\" names others." >&2
exit 1
