// The core of leat in one header: tasks, synchronisation, channels, runtimes. Flows are in <leat/flow/flow.hpp>.
#pragma once

#include <leat/channel/channel.hpp>
#include <leat/runtime/blocking.hpp>
#include <leat/runtime/main.hpp>
#include <leat/runtime/run.hpp>
#include <leat/runtime/strand.hpp>
#include <leat/sync/mutex.hpp>
#include <leat/sync/semaphore.hpp>
#include <leat/task/async_generator.hpp>
#include <leat/task/fiber.hpp>
#include <leat/task/fork.hpp>
#include <leat/task/generator.hpp>
#include <leat/task/parallel.hpp>
#include <leat/task/resume_on.hpp>
#include <leat/task/run_in_fiber.hpp>
#include <leat/task/scope.hpp>
#include <leat/task/task.hpp>
#include <leat/task/this_task.hpp>
#include <leat/task/timeout.hpp>
#include <leat/task/when_all.hpp>
#include <leat/task/when_any.hpp>
