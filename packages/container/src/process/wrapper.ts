// The few lines of shell that stand between us and a plain process: they wait for it and write down how it ended.

/**
 * Arguments: exit file, hint file, then the command. The pid of the command is written to descriptor 3.
 *
 * - Signals to the group are trapped with ':' and not ignored, because the command would inherit an ignored signal.
 * - `wait` also returns when a trap ran, so it is repeated while the command is there.
 * - Its own words ("Killed") go nowhere: the log is the command's.
 * - Both files appear by rename: whoever sees them sees them whole.
 */
export const WRAPPER_SCRIPT = `
exit_file=$1; hint_file=$2; shift 2
trap : HUP INT QUIT TERM USR1 USR2
ulimit -c 0
"$@" 3>&- </dev/null &
child=$!
echo "$child" >&3
exec 3>&- 2>/dev/null
while :; do
  wait "$child"; code=$?
  kill -0 "$child" 2>/dev/null || break
done
echo "$code" > "$exit_file.tmp" && mv "$exit_file.tmp" "$exit_file"
: > "$hint_file.tmp" && mv "$hint_file.tmp" "$hint_file"
`;
