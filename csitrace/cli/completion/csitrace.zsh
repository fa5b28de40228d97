#compdef csitrace
# Completion of csitrace for zsh:  source <(csitrace completion zsh), after compinit
_csitrace() {
    local line name directive=0
    local -a candidates options
    for line in "${(@f)$("${words[1]}" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        if [[ "$line" == :<-> ]]; then
            directive="${line#:}"
        else
            name="${${line%%$'\t'*}//:/\\:}"
            [[ "$line" == *$'\t'* ]] && name+=":${line#*$'\t'}"
            candidates+=("$name")
        fi
    done
    ((directive & 2)) && options+=(-S '')
    compset -P '-*='
    if ((directive & 16)); then
        _path_files -/
    elif ((!(directive & 4))); then
        _files
    else
        _describe csitrace candidates "${options[@]}"
    fi
}
(( $+functions[compdef] )) && compdef _csitrace csitrace
