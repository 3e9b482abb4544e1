#include "threads.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace mv2 {

namespace {

constexpr int most_threads = 64;       // of a team
constexpr int spins = 1500;            // about 50 microseconds
constexpr int spins_at_rest = 3000;    // after a call, for the next one
constexpr int spins_for_return = 300;  // about 10 microseconds

inline void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
    asm volatile("isb");  // about as long a pause; "yield" doesn't pause at all
#endif
}

// A range of items and the number of its list, in one word, so that taking an item of a finished
// list fails.
struct Range {
    uint32_t list;   // 24 bits
    int begin, end;  // 20 bits each
};
constexpr int longest = (1 << 20) - 1;

uint64_t packed(Range r) {
    return static_cast<uint64_t>(r.list & 0xffffff) << 40 | static_cast<uint64_t>(r.begin) << 20 |
           static_cast<uint64_t>(r.end);
}

Range unpacked(uint64_t word) {
    return {static_cast<uint32_t>(word >> 40), static_cast<int>(word >> 20 & 0xfffff),
            static_cast<int>(word & 0xfffff)};
}

}  // namespace

struct TeamState {
    struct alignas(128) Slot {
        std::atomic<uint64_t> items{0};
    };
    Slot slots[most_threads];
    alignas(128) std::atomic<int> finished{0};
    // The current list. Written before its items, read after one has been taken: the list can't
    // change until that item is finished.
    void (*function)(void*, int, int) = nullptr;
    void* context = nullptr;
    int count = 0;
    uint32_t list = 0;
    int size = 1;
    alignas(128) std::atomic<uint32_t> published{0};  // lists so far
    std::atomic<bool> closed{false};
    std::atomic<int> sleepers{0};
    std::atomic<bool> leader_sleeps{false};
    std::atomic<int> members{0};  // that still use this state
    std::mutex mutex;
    std::condition_variable wake, done;
    std::exception_ptr thrown;  // the first exception; the leader reads it when all items are done
    TeamState* next = nullptr;  // in the pool's list

    // An item for this thread: its own next one, or the first of the half that it takes from
    // another.
    bool take(int thread, int* item) {
        auto& mine = slots[thread].items;
        uint64_t word = mine.load(std::memory_order_acquire);
        for (;;) {
            const Range r = unpacked(word);
            if (r.begin >= r.end) break;
            if (mine.compare_exchange_weak(word, packed({r.list, r.begin + 1, r.end}),
                                           std::memory_order_acq_rel)) {
                *item = r.begin;
                return true;
            }
        }
        const uint32_t current = unpacked(word).list;
        for (int i = 1; i < size; i++) {
            auto& other = slots[(thread + i) % size].items;
            word = other.load(std::memory_order_acquire);
            for (;;) {
                const Range r = unpacked(word);
                // If it isn't my empty range's list it is a new one, in which I have a range too.
                if (r.begin >= r.end || r.list != current) break;
                const int middle = r.begin + (r.end - r.begin) / 2;
                if (!other.compare_exchange_weak(word, packed({r.list, r.begin, middle}),
                                                 std::memory_order_acq_rel))
                    continue;
                // Items middle to end aren't finished, so this is still the current list.
                mine.store(packed({r.list, middle + 1, r.end}), std::memory_order_release);
                *item = middle;
                return true;
            }
        }
        return false;
    }

    // Takes items until there are none; false if there was none.
    bool work(int thread) {
        int item;
        if (!take(thread, &item)) return false;
        do {
            const int all = count;
            try {
                function(context, item, thread);
            } catch (...) {
                std::lock_guard<std::mutex> lock(mutex);
                if (!thrown) thrown = std::current_exception();
            }
            if (finished.fetch_add(1, std::memory_order_seq_cst) + 1 == all &&
                leader_sleeps.load(std::memory_order_seq_cst)) {
                std::lock_guard<std::mutex> lock(mutex);
                done.notify_one();
            }
        } while (take(thread, &item));
        return true;
    }
};

namespace {

struct Worker {
    std::atomic<TeamState*> team{nullptr};
    int number = 0;
    std::mutex mutex;
    std::condition_variable wake;
    bool asleep = false;
    Worker* next = nullptr;  // in the pool's list
};

// A list linked by the members `next`: adding to it needs no memory, so it can't fail.
template <class T>
struct Chain {
    T* first = nullptr;

    void push(T* item) {
        item->next = first;
        first = item;
    }
    T* pop() {
        T* item = first;
        if (item) first = item->next;
        return item;
    }
};

// The only pool: one for each size of team would duplicate the threads.
struct Pool {
    std::mutex mutex;
    Chain<Worker> idle;
    Chain<TeamState> states;  // not in use
    int workers = 0;
    std::atomic<int> returning{0};  // workers of finished teams that aren't idle yet

    void give_back(TeamState* state) {
        std::lock_guard<std::mutex> lock(mutex);
        states.push(state);
    }
};

Pool* pool();

void leave(TeamState* state) {
    if (state->members.fetch_sub(1, std::memory_order_acq_rel) == 1) pool()->give_back(state);
}

void serve(TeamState* state, int number) {
    int idle = 0;
    while (!state->closed.load(std::memory_order_acquire)) {
        if (state->work(number)) {
            idle = 0;
        } else if (idle < spins) {
            idle++;
            pause();
        } else {
            const uint32_t seen = state->published.load(std::memory_order_seq_cst);
            std::unique_lock<std::mutex> lock(state->mutex);
            state->sleepers.fetch_add(1, std::memory_order_seq_cst);
            state->wake.wait(lock, [&] {
                return state->published.load(std::memory_order_seq_cst) != seen ||
                       state->closed.load(std::memory_order_seq_cst);
            });
            state->sleepers.fetch_sub(1, std::memory_order_seq_cst);
            idle = 0;
        }
    }
    leave(state);
}

void live(Worker* worker) {
    for (;;) {
        TeamState* state = nullptr;
        for (int i = 0; i < spins_at_rest; i++) {
            state = worker->team.load(std::memory_order_acquire);
            if (state) break;
            pause();
        }
        if (!state) {
            std::unique_lock<std::mutex> lock(worker->mutex);
            worker->asleep = true;
            worker->wake.wait(lock, [&] { return worker->team.load(std::memory_order_acquire); });
            worker->asleep = false;
            state = worker->team.load(std::memory_order_acquire);
        }
        serve(state, worker->number);
        worker->team.store(nullptr, std::memory_order_release);
        std::lock_guard<std::mutex> lock(pool()->mutex);
        pool()->idle.push(worker);
        pool()->returning.fetch_sub(1, std::memory_order_release);
    }
}

// A new worker, or nullptr if the system allows no more threads. It blocks signals: they are for
// the caller's threads.
Worker* hire() {
    auto* worker = new (std::nothrow) Worker;
    if (!worker) return nullptr;
#if !defined(_WIN32)
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    try {
        std::thread(live, worker).detach();
    } catch (...) {
        delete worker;
        worker = nullptr;
    }
#if !defined(_WIN32)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return worker;
}

// Never destroyed: its threads may outlive main. A forked child has no threads, so it starts with a
// new pool.
std::aligned_storage_t<sizeof(Pool), alignof(Pool)> pool_memory;

Pool* pool() {
    static const bool made = [] {
        new (&pool_memory) Pool;
#if !defined(_WIN32)
        pthread_atfork([] { reinterpret_cast<Pool*>(&pool_memory)->mutex.lock(); },
                       [] { reinterpret_cast<Pool*>(&pool_memory)->mutex.unlock(); },
                       [] { new (&pool_memory) Pool; });
#endif
        return true;
    }();
    (void)made;
    return reinterpret_cast<Pool*>(&pool_memory);
}

}  // namespace

int processors() {
    const unsigned found = std::thread::hardware_concurrency();
    int count = found ? static_cast<int>(found) : 1;
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0) count = CPU_COUNT(&set);
    // A container may have all processors for a share of the time: "200000 100000" means two.
    std::ifstream file("/sys/fs/cgroup/cpu.max");
    double quota = 0, period = 0;
    if (file >> quota >> period && quota > 0 && period > 0)
        count = std::min(count, std::max(1, static_cast<int>(std::ceil(quota / period))));
#endif
    return count;
}

Team::Team(int wanted) {
    if (wanted > most_threads) wanted = most_threads;
    if (wanted < 2) return;
    Pool* all = pool();
    // The threads of a call that has just ended return in a moment; threads that aren't running
    // aren't waited for.
    for (int i = 0; i < spins_for_return; i++) {
        if (all->returning.load(std::memory_order_acquire) <= 0) break;
        pause();
    }
    Worker* hired[most_threads];
    int count = 0;
    {
        std::lock_guard<std::mutex> lock(all->mutex);
        while (count < wanted - 1 && all->idle.first) hired[count++] = all->idle.pop();
        // As many threads as the largest team wants, but no more for concurrent teams, which make
        // do with fewer.
        while (count < wanted - 1 && all->workers < wanted - 1) {
            Worker* worker = hire();
            if (!worker) break;
            all->workers++;
            hired[count++] = worker;
        }
        if (count == 0) return;
        state_ = all->states.pop();
        if (!state_) state_ = new (std::nothrow) TeamState;
        if (!state_) {
            for (int i = 0; i < count; i++) all->idle.push(hired[i]);
            return;
        }
    }
    size_ = count + 1;
    state_->size = size_;
    state_->closed.store(false, std::memory_order_relaxed);
    state_->members.store(size_, std::memory_order_relaxed);
    for (auto& slot : state_->slots) slot.items.store(0, std::memory_order_relaxed);
    for (int i = 0; i < count; i++) {
        Worker* worker = hired[i];
        worker->number = i + 1;
        bool wake;
        {
            std::lock_guard<std::mutex> lock(worker->mutex);
            worker->team.store(state_, std::memory_order_release);
            wake = worker->asleep;
        }
        if (wake) worker->wake.notify_one();
    }
}

Team::~Team() {
    if (!state_) return;
    pool()->returning.fetch_add(size_ - 1, std::memory_order_relaxed);
    state_->closed.store(true, std::memory_order_seq_cst);
    if (state_->sleepers.load(std::memory_order_seq_cst)) {
        std::lock_guard<std::mutex> lock(state_->mutex);
        state_->wake.notify_all();
    }
    leave(state_);
}

void Team::run(int count, Function function, void* context) {
    if (size_ == 1 || count < 2) {
        for (int i = 0; i < count; i++) function(context, i, 0);
        return;
    }
    TeamState& s = *state_;
    s.function = function;
    s.context = context;
    s.count = count < longest ? count : longest;
    s.finished.store(0, std::memory_order_relaxed);
    s.list++;
    for (int i = 0; i < size_; i++) {
        const auto share = [&](int n) {
            return static_cast<int>(static_cast<int64_t>(s.count) * n / size_);
        };
        s.slots[i].items.store(packed({s.list, share(i), share(i + 1)}), std::memory_order_release);
    }
    s.published.fetch_add(1, std::memory_order_seq_cst);
    if (s.sleepers.load(std::memory_order_seq_cst)) {
        std::lock_guard<std::mutex> lock(s.mutex);
        s.wake.notify_all();
    }
    s.work(0);
    for (int i = 0; s.finished.load(std::memory_order_acquire) < s.count; i++) {
        if (i < spins) {
            pause();
            continue;
        }
        std::unique_lock<std::mutex> lock(s.mutex);
        s.leader_sleeps.store(true, std::memory_order_seq_cst);
        s.done.wait(lock, [&] { return s.finished.load(std::memory_order_seq_cst) >= s.count; });
        s.leader_sleeps.store(false, std::memory_order_seq_cst);
    }
    if (s.thrown) std::rethrow_exception(std::exchange(s.thrown, nullptr));
    for (int i = s.count; i < count; i++) function(context, i, 0);  // an absurdly long list's rest
}

}  // namespace mv2
