"""What random Dockerfiles are made of; the lists that are called odd hold what BuildKit refuses, or nearly."""

from __future__ import annotations

# ruff: noqa: SIM905  # a line of words reads better than a column of strings
SOURCES = """
a.txt b.txt dir dir/ ./dir dir/. dir/sub . ./ / /a.txt ../a.txt dir/../a.txt *.txt * d* dir/* dir/*.py */one.py
**/one.py dir/** ?.txt link.txt dirlink dirlink/ dirlink/one.py dir/up dangling hollow hollow/
run.sh \u00e4 x.tar.not empty.txt $NAME.txt ${NAME}.txt a.tx? dir/./sub \\$dollar.txt outside dir/sub/../one.py
"a.txt" 'b.txt' "dir"/one.py sp\\ ace.txt sp?ace.txt -dash *.* .*
""".split()
CLASS_SOURCES = "[ab].txt [[]x].txt [^a].txt dir/[a-o]*.py".split()
PARENT_SOURCES = """
dir/sub/deep.txt ./dir/sub dir/./sub/deep.txt */one.py ./dir/./sub/more dir/sub/* **/*.py /dir/sub/deep.txt . ./ dir/./
a.txt dir/sub/
""".split()
ARCHIVES = ["files.tar", "files.tar.gz", "files.*"]
IMAGE_SOURCES = (
    "/app /app/. /file /link /etc/passwd /opt/place / /* /app/* /a.txt /opt /usr/bin app /link/ /dangling".split()
)
MISSING = ["missing", "missing/", "nothing*", "dir/missing"]
DESTINATIONS = [*"""
. ./ / /opt/ /opt /opt/new/ /opt/new/deep/name name sub/ sub/name ../up/ /app/ $PLACE/ $PLACE ${PLACE}/x/ /link/ /link/x
/link /dangling/ /dangling /file /usr/bin/ /bin/ /bin ./. /tmp/y /home/me/ /opt/../up2/
""".split(), "/a b/"]  # fmt: skip
HERE_DESTINATIONS = ["/opt/here", "here", "/opt/", "./", "$PLACE/here", "/file", "/link/here"]
HERE_BODIES = ["one $NAME\ntwo", "", "\ttabbed\n  spaced", "\\$NAME ${MISSING:-x}", "'q' \"d\"", "\n\n", "a \\\n b"]
VALUES = [*"""
plain a=b $NAME ${NAME} ${NAME:-fallback} ${MISSING:-fallback} ${MISSING-x} ${NAME:+set} ${NAME+set} ${MISSING:+set}
$MISSING \\$NAME a\\ b it's back\\\\slash ${NAME}${NAME} $NAME/$PLACE #no-comment \u00e4\u65e5 $ ${NAME:-${PLACE}} a,b;c
""".split(), "", "two words", 'say "hi"', "'single $NAME'", "tab\tend",
          "$TARGETARCH", "$BUILDPLATFORM-$TARGETVARIANT", "${TARGETOS:-none}", "$GIVEN", "$EXTRA$A"]  # fmt: skip
SUBSTITUTIONS = "${PLACE#/} ${PLACE##*/} ${PLACE%/*} ${PLACE%%/*} ${PLACE/o/0} ${PLACE//o/0}".split()
ARGUMENTS = ["EXTRA", "EXTRA=1", "NAME=arg", "EXTRA=$NAME", "PLACE", "GIVEN", "GIVEN=x", "A=1 B=2", "TAKEN", "IMAGE",
             "TARGETARCH", "TARGETPLATFORM=x", "BUILDPLATFORM", "TARGETOS TARGETVARIANT", "http_proxy"]  # fmt: skip
OWNERS = ["1000", "1000:2000", "0", "0:33", "$OWNER", "65534:65534"]
MODES = "755 0644 0600 4755 1777 0 2750 $BITS".split()
SYMBOLIC_MODES = "u+x go-rwx a=rX".split()
ODD_MODES = "888 99999 rwx -1 0o755 u=z".split()
EXCLUDED = "*.py **/*.txt dir/sub sub a.* !a.txt * **/deep* missing $NAME.txt ./a.txt".split()
ODD_FLAGS = ["--what", "--chown", "--parents=maybe", "--chown="]
COMMANDS = ['["python", "-m", "x"]', "echo hello $NAME", '["a", "b c", "\\u0041"]', "[not, json]", "[]", '["one"]',
            '[ "spaced" , "out" ]', "exec top -b", '["a",]', '"quoted" word', "['single']", '["a"] b']  # fmt: skip
PORTS = "80|443/tcp|53/udp|80 81|$PORT|${PORT}/udp|9/TCP|65535".split("|")
PORT_RANGES = ["8000-8002", "80:90", "1000-1001/udp 80"]
ODD_PORTS = ["70000", "x", "1-x", "0", "80/x", "-1", "9-8"]
VOLUMES = ["/data", "/data /more", '["/a b", "/c"]', "$PLACE/data", "relative", '["/x",]']
ODD_VOLUMES = ['[""]', "[]", '["/x", ""]']
CHECKS = ["NONE", "CMD true", 'CMD ["true", "x"]', "--interval=5s CMD true", "--interval=1m30s --retries=3 CMD x",
          "--timeout=500ms --start-period=2s CMD x", "--start-interval=1s CMD x", "--retries=0 CMD x", "none",
          "--interval=0 CMD true", "--interval=1.5h CMD x y", "cmd $NAME"]  # fmt: skip
ODD_CHECKS = ["--interval=-1s CMD x", "--retries=-1 CMD x", "CMD", "WHAT x", "--what=1 CMD x", "--interval=1us CMD x",
              "--interval=1 CMD x", "NONE x", "--interval=1s NONE", "--retries=x CMD x"]  # fmt: skip
SIGNALS = ["SIGTERM", "9", "KILL", "$SIGNAL", "SIGRTMIN+3", "sigterm"]
ODD_SIGNALS = ["nonsense", "0", "99", "SIG"]
SHELLS = ['["/bin/bash", "-c"]', '["sh", "-xc"]']
ODD_SHELLS = ["[]", "sh -c"]
USERS = ["1000", "1000:1000", "$OWNER", "0", "$MISSING", "77:0"]
NAMED_USERS = ["nobody", "root", "me:you", "me", "missing"]
WORKDIRS = ["/work", "relative", "../up", "/a/b/../c", "$PLACE", "/app", "/link", "/dangling", "/link/deep", "/tmp/x",
            "/a b", '"/quoted dir"', "/", "/work/", "//double//slash", "/usr/lib/x", "./dot",
            "/home/me/new"]  # fmt: skip
ODD_WORKDIRS = ["/file", "/file/x", "$MISSING"]
TRIGGERS = ["ENV ON=build$NAME", "COPY a.txt /onbuild/", "WORKDIR /onbuild", "LABEL on=build", 'CMD ["x"]', "USER 12",
            "copy a.txt b.txt /x/", "EXPOSE 80"]  # fmt: skip
ODD_TRIGGERS = ["FROM x", "ONBUILD ENV A=1", "", "MAINTAINER x", "NOTHING x", "COPY a.txt"]
NONSENSE = ["NOTHING x", "COPY a.txt", "ENV", "ENV =x", "WORKDIR", "FROM", "ADD", "LABEL", "USER", "CMD", "EXPOSE",
            "VOLUME", "COPY --from=missing a b", "ENV A='open", "COPY a.txt b.txt c", "ENV A=${", "ENV A=${NAME",
            "ENV A=${NAME:?gone}", "ENV A=${MISSING:?gone}", "ARG", "ENV A B=${x!y}", "COPY <<EOF",
            "ARG A=1 =2"]  # fmt: skip
