# Completion of csitrace for fish:  csitrace completion fish | source
function __csitrace_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l prefix (string match -r -- '^-[^=]*=' $current)
    set -l directive 0
    for line in ($words[1] __complete $words[2..-1] "$current" 2>/dev/null)
        if string match -qr '^:\d+$' -- $line
            set directive (string sub -s 2 -- $line)
        else
            echo "$prefix$line"
        end
    end
    if test (math "bitand($directive, 4)") -eq 0
        __fish_complete_path $current
    end
end
complete -c csitrace -f -a '(__csitrace_complete)'
