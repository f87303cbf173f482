// What the benchmarks measure beside themselves in Go: one program that does the piece of work it is named, so often, on so
// many processors, and prints the nanoseconds that it took and the checksum of what it computed.
//
//	peers WORK COUNT PROCESSORS
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// As many goroutines as fit a batch, each of which writes to a slot of its own, and a wait for all of them.
func spawnAndJoin(count uint64) uint64 {
	const batch = 1000
	var slots [batch]uint64
	var all sync.WaitGroup
	for round := uint64(1); round <= count/batch; round++ {
		all.Add(batch)
		for i := 0; i < batch; i++ {
			go func(slot *uint64, value uint64) {
				*slot += value
				all.Done()
			}(&slots[i], round)
		}
		all.Wait()
	}
	sum := uint64(0)
	for _, each := range slots {
		sum = sum*31 + each
	}
	return sum
}

func yield(count uint64) uint64 {
	var done [2]uint64
	var all sync.WaitGroup
	all.Add(2)
	for who := 0; who < 2; who++ {
		go func(who int) {
			for i := uint64(0); i < count/2; i++ {
				runtime.Gosched()
				done[who]++
			}
			all.Done()
		}(who)
	}
	all.Wait()
	return done[0] + done[1]
}

func fib(n uint64) uint64 {
	if n < 2 {
		return n
	}
	left := make(chan uint64, 1)
	go func() { left <- fib(n - 1) }()
	right := fib(n - 2)
	return <-left + right
}

// There and back between two goroutines, through channels without room.
func pingPong(count uint64) uint64 {
	there, back := make(chan uint64), make(chan uint64)
	go func() {
		for value := range there {
			back <- value ^ 1
		}
		close(back)
	}()
	sum := uint64(0)
	for i := uint64(0); i < count; i++ {
		there <- i
		sum = sum*31 + <-back
	}
	close(there)
	return sum
}

// One producer, one consumer.
func stream(count uint64, room int) uint64 {
	items := make(chan uint64, room)
	go func() {
		for i := uint64(0); i < count; i++ {
			items <- i
		}
		close(items)
	}()
	sum := uint64(0)
	for value := range items {
		sum = sum*31 + value
	}
	return sum
}

// Bytes of resident memory for each goroutine that waits; printed where the others print their time.
func waiting(count uint64) (uint64, uint64) {
	before := resident()
	gate := make(chan struct{})
	var all sync.WaitGroup
	all.Add(int(count))
	var ended uint64
	var lock sync.Mutex
	for i := uint64(0); i < count; i++ {
		go func() {
			<-gate
			lock.Lock()
			ended++
			lock.Unlock()
			all.Done()
		}()
	}
	for i := 0; i < 3; i++ {
		runtime.Gosched()
	}
	after := resident()
	close(gate)
	all.Wait()
	return after - before, ended
}

func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		panic(err)
	}
	return pages * uint64(os.Getpagesize())
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: peers WORK COUNT PROCESSORS")
		os.Exit(2)
	}
	count, err := strconv.ParseUint(os.Args[2], 10, 64)
	processors, err2 := strconv.Atoi(os.Args[3])
	if err != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "peers: COUNT and PROCESSORS are numbers")
		os.Exit(2)
	}
	runtime.GOMAXPROCS(processors)
	start := time.Now()
	var sum uint64
	switch os.Args[1] {
	case "spawn":
		sum = spawnAndJoin(count)
	case "yield":
		sum = yield(count)
	case "fib":
		sum = fib(count)
	case "pingpong":
		sum = pingPong(count)
	case "stream":
		sum = stream(count, 1024)
	case "waiting":
		bytes, ended := waiting(count)
		fmt.Println(bytes, ended)
		return
	default:
		fmt.Fprintf(os.Stderr, "peers: no work is called '%s'\n", os.Args[1])
		os.Exit(2)
	}
	fmt.Println(time.Since(start).Nanoseconds(), sum)
}
