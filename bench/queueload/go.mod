module millstream.dev/bench/queueload

go 1.22
