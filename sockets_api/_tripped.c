/* SPDX-License-Identifier: MIT */
/* Whether a signal came whose handler the interpreter has still to run: the bit that its evaluation loop
 * looks at. CPython tells it nobody, and a wait that sleeps although it is set would sleep through a signal. */
#define Py_BUILD_CORE 1
#include <Python.h>
#include <internal/pycore_ceval.h>
#include <internal/pycore_runtime.h>

#include "_tripped.h"

int signal_tripped(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    uintptr_t breaker = _Py_atomic_load_uintptr_relaxed(&_PyRuntime.main_tstate->eval_breaker);
    return (breaker & _PY_SIGNALS_PENDING_BIT) != 0;
#else
    return _Py_atomic_load_relaxed(&_PyRuntime.ceval.signals_pending);
#endif
}
