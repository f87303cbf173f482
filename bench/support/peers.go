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

// There and back between two goroutines, through channels without room; each bound to a thread of its own, or not.
func pingPong(count uint64, bound bool) uint64 {
	there, back := make(chan uint64), make(chan uint64)
	bind := func() {
		if bound {
			runtime.LockOSThread()
		}
	}
	bind()
	go func() {
		bind()
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

// So many producers and consumers of one channel; in order where there is one of each.
func stream(count uint64, ends uint64, room int) uint64 {
	items := make(chan uint64, room)
	factor := uint64(1)
	if ends == 1 {
		factor = 31
	}
	var producers, consumers sync.WaitGroup
	sums := make([]uint64, ends)
	for who := uint64(0); who < ends; who++ {
		producers.Add(1)
		consumers.Add(1)
		go func(from uint64, to uint64) {
			for i := from; i < to; i++ {
				items <- i
			}
			producers.Done()
		}(who*(count/ends), (who+1)*(count/ends))
		go func(result *uint64) {
			sum := uint64(0)
			for value := range items {
				sum = sum*factor + value*value
			}
			*result = sum
			consumers.Done()
		}(&sums[who])
	}
	producers.Wait()
	close(items)
	consumers.Wait()
	sum := uint64(0)
	for _, each := range sums {
		sum += each
	}
	return sum
}

// --- Select: the work of select_bench.cpp ---

func channels(count int, room int) []chan uint64 {
	all := make([]chan uint64, count)
	for i := range all {
		all[i] = make(chan uint64, room)
	}
	return all
}

// Where the next item is: bench::spin of one step.
func placeOf(item uint64, count int) uint64 {
	seed := item*6364136223846793005 + 1442695040888963407
	seed ^= seed >> 29
	return seed % uint64(count)
}

func ofTwo(in []chan uint64) uint64 {
	select {
	case value := <-in[0]:
		return value
	case value := <-in[1]:
		return value
	}
}

func ofMany(in []chan uint64) uint64 {
	var value uint64
	select {
	case value = <-in[0]:
	case value = <-in[1]:
	case value = <-in[2]:
	case value = <-in[3]:
	case value = <-in[4]:
	case value = <-in[5]:
	case value = <-in[6]:
	case value = <-in[7]:
	case value = <-in[8]:
	case value = <-in[9]:
	case value = <-in[10]:
	case value = <-in[11]:
	case value = <-in[12]:
	case value = <-in[13]:
	case value = <-in[14]:
	case value = <-in[15]:
	case value = <-in[16]:
	case value = <-in[17]:
	case value = <-in[18]:
	case value = <-in[19]:
	case value = <-in[20]:
	case value = <-in[21]:
	case value = <-in[22]:
	case value = <-in[23]:
	case value = <-in[24]:
	case value = <-in[25]:
	case value = <-in[26]:
	case value = <-in[27]:
	case value = <-in[28]:
	case value = <-in[29]:
	case value = <-in[30]:
	case value = <-in[31]:
	case value = <-in[32]:
	case value = <-in[33]:
	case value = <-in[34]:
	case value = <-in[35]:
	case value = <-in[36]:
	case value = <-in[37]:
	case value = <-in[38]:
	case value = <-in[39]:
	case value = <-in[40]:
	case value = <-in[41]:
	case value = <-in[42]:
	case value = <-in[43]:
	case value = <-in[44]:
	case value = <-in[45]:
	case value = <-in[46]:
	case value = <-in[47]:
	case value = <-in[48]:
	case value = <-in[49]:
	case value = <-in[50]:
	case value = <-in[51]:
	case value = <-in[52]:
	case value = <-in[53]:
	case value = <-in[54]:
	case value = <-in[55]:
	case value = <-in[56]:
	case value = <-in[57]:
	case value = <-in[58]:
	case value = <-in[59]:
	case value = <-in[60]:
	case value = <-in[61]:
	case value = <-in[62]:
	case value = <-in[63]:
	}
	return value
}

func bothReady(count uint64) uint64 {
	all := channels(2, 1)
	sum := uint64(0)
	for i := uint64(0); i < count; i++ {
		all[0] <- i
		all[1] <- i
		sum = sum*31 + ofTwo(all)
		sum = sum*31 + ofTwo(all)
	}
	return sum
}

func oneReady(count uint64, arms int, choose func([]chan uint64) uint64) uint64 {
	all := channels(arms, 1)
	sum := uint64(0)
	for i := uint64(0); i < count; i++ {
		all[placeOf(i, arms)] <- i
		sum = sum*31 + choose(all)
	}
	return sum
}

func selectWaiting(count uint64, arms int, choose func([]chan uint64) uint64) uint64 {
	all := channels(arms, 0)
	go func() {
		for i := uint64(0); i < count; i++ {
			all[placeOf(i, arms)] <- i
		}
	}()
	sum := uint64(0)
	for i := uint64(0); i < count; i++ {
		sum = sum*31 + choose(all)
	}
	return sum
}

// --- Locks ---

func lockAlone(count uint64) uint64 {
	var lock sync.Mutex
	sum := uint64(0)
	for i := uint64(0); i < count; i++ {
		lock.Lock()
		sum += i
		lock.Unlock()
	}
	return sum
}

// A goroutine for each processor.
func lockWithOthers(count uint64, processors int) uint64 {
	var lock sync.Mutex
	var all sync.WaitGroup
	total := uint64(0)
	all.Add(processors)
	for who := 0; who < processors; who++ {
		go func() {
			for i := uint64(0); i < count/uint64(processors); i++ {
				lock.Lock()
				total += i
				lock.Unlock()
			}
			all.Done()
		}()
	}
	all.Wait()
	return total
}

// --- Many that wait for one channel ---

// How much they take, in bytes, and the nanoseconds from its close until the last has gone on.
func waiting(count uint64) (memory uint64, release int64, ended uint64) {
	before := resident()
	gate := make(chan struct{})
	var all sync.WaitGroup
	all.Add(int(count))
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
	memory = resident() - before
	start := time.Now()
	close(gate)
	all.Wait()
	return memory, time.Since(start).Nanoseconds(), ended
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
		sum = pingPong(count, false)
	case "pingpong of threads":
		sum = pingPong(count, true)
	case "stream":
		sum = stream(count, 1, 1024)
	case "streams":
		sum = stream(count, 2, 1024)
	case "select both":
		sum = bothReady(count)
	case "select 2":
		sum = oneReady(count, 2, ofTwo)
	case "select 64":
		sum = oneReady(count, 64, ofMany)
	case "select 2 waiting":
		sum = selectWaiting(count, 2, ofTwo)
	case "select 64 waiting":
		sum = selectWaiting(count, 64, ofMany)
	case "lock":
		sum = lockAlone(count)
	case "locks":
		sum = lockWithOthers(count, processors)
	case "waiting":
		bytes, _, ended := waiting(count)
		fmt.Println(bytes, ended)
		return
	case "release":
		_, time, ended := waiting(count)
		fmt.Println(time, ended)
		return
	default:
		fmt.Fprintf(os.Stderr, "peers: no work is called '%s'\n", os.Args[1])
		os.Exit(2)
	}
	fmt.Println(time.Since(start).Nanoseconds(), sum)
}
