/* SPDX-License-Identifier: MIT */
/* What the files of the extension _direct share: the base of the socket class, and select's two halves. */
#ifndef BW_DIRECT_H
#define BW_DIRECT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "stack/drive/drive.h"

struct direct {
    PyObject ob_base; /* no PyObject_HEAD: it hides the name */
    const struct host_direct *calls;
    struct host *host;
    struct bw_sock *sock; /* NULL: closed, or not tied yet */
    int64_t spin;
    int nonblocking;
    PyObject *again; /* what BlockingIOError says, once it was raised */
};

/* _select.c */
#define SELECT_GATHER_DOC \
    "_gather($type, rlist, wlist, xlist, resolve, address, /)\n--\n\n" \
    "Lays select's three lists out as struct wait_item at an address that has room for all; what is no " \
    "open " \
    "socket of ours is what resolve(object) says: a socket, or a descriptor. Sockets, one of each stack."
#define SELECT_SCATTER_DOC \
    "_scatter(rlist, wlist, xlist, address, /)\n--\n\n" \
    "The members of each list that are ready; None: something in them is closed."
PyObject *select_gather(PyObject *type, PyObject *const *args, Py_ssize_t n);
PyObject *select_scatter(PyObject *unused, PyObject *const *args, Py_ssize_t n);

#endif
