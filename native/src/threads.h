// The process's threads, shared by all models, and `Team`, the threads of one call.
//
// Built for busy machines: nothing waits for a thread that hasn't started. A call starts at once,
// alone; other threads join when they wake. Each takes items from its own range, and once that is
// empty takes half of another's. Waiting means spinning for microseconds, then sleeping.
#pragma once

#include <cstdint>

namespace mv2 {

// How many processors this process may use.
int processors();

struct TeamState;

class Team {
 public:
    // Up to `wanted` threads including the caller; fewer if other teams have the rest.
    explicit Team(int wanted);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Threads that may take items; their numbers are below this, the caller's is 0.
    int size() const { return size_; }

    // Calls f(item, thread) for each item below `count`, in any order and concurrently; returns
    // when all are done. Neighboring items mostly go to one thread, in order. The first exception
    // of `f` is rethrown here, once no item is running; some items may then never have started.
    template <class F>
    void each(int count, F&& f) {
        run(
            count,
            [](void* context, int item, int thread) { (*static_cast<F*>(context))(item, thread); },
            &f);
    }

 private:
    using Function = void (*)(void* context, int item, int thread);
    void run(int count, Function function, void* context);

    TeamState* state_ = nullptr;
    int size_ = 1;
};

}  // namespace mv2
