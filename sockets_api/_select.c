/* SPDX-License-Identifier: MIT */
/* select's lists, in and out: an object is 32 bytes for C on the way in, and its place in a list on the way out.
 * In Python an object cost 2 to 4 us. The lists are Python's copies, so nobody changes them meanwhile. */
#include "_direct.h"

#include <limits.h>
#include <poll.h>

enum { LISTS = 3 };

/* What makes a member of each list ready, in poll(2)'s words: readable, writable, exceptional. */
static const uint32_t ready[LISTS] = {POLLIN | POLLHUP | POLLERR, POLLOUT | POLLERR, POLLPRI};

static struct wait_item *items_at(PyObject *address)
{
    return PyLong_AsVoidPtr(address);
}

static int are_lists(PyObject *const *args, Py_ssize_t n, Py_ssize_t wanted)
{
    int good = n == wanted;
    for (Py_ssize_t k = 0; good && k < LISTS; k++)
        good = PyList_CheckExact(args[k]);
    if (!good)
        PyErr_SetString(PyExc_TypeError, "three lists are wanted");
    return good;
}

static void lay_socket(struct wait_item *item, const struct direct *d, int list)
{
    *item = (struct wait_item){.host = d->host, .sock = d->sock, .events = ready[list] | BW_EXACT};
}

static int lay_descriptor(struct wait_item *item, PyObject *number, int list)
{
    long fd = PyLong_AsLong(number);
    if (fd > INT_MAX)
        PyErr_SetString(PyExc_OverflowError, "Python int too large to convert to C int");
    *item = (struct wait_item){.fd = (int)fd, .events = ready[list] | BW_EXACT};
    return PyErr_Occurred() ? -1 : 0;
}

/* An object that is no open socket of ours. 1: *target, of which the caller has a reference, is the one it stands
 * for, 0: it stands for a descriptor, -1: an exception. */
static int lay_other(struct wait_item *item, PyObject *type, PyObject *object, PyObject *resolve, int list,
                     PyObject **target)
{
    *target = PyObject_CallOneArg(resolve, object);
    if (!*target)
        return -1;
    if (PyObject_TypeCheck(*target, (PyTypeObject *)type)) {
        lay_socket(item, (const struct direct *)*target, list);
        return 1;
    }
    int rc = lay_descriptor(item, *target, list);
    Py_CLEAR(*target);
    return rc;
}

PyObject *select_gather(PyObject *type, PyObject *const *args, Py_ssize_t n)
{
    struct wait_item *item;
    const struct host *host = NULL;
    const PyTypeObject *known = NULL; /* the type of ours that the last object was of */
    if (!are_lists(args, n, LISTS + 2) || !(item = items_at(args[LISTS + 1])))
        return NULL;
    PyObject *found = PyList_New(0);
    for (int list = 0; found && list < LISTS; list++) {
        for (Py_ssize_t i = 0; found && i < PyList_GET_SIZE(args[list]); i++, item++) {
            PyObject *object = PyList_GET_ITEM(args[list], i);
            int ours = Py_TYPE(object) == known || PyObject_TypeCheck(object, (PyTypeObject *)type);
            known = ours ? Py_TYPE(object) : known;
            PyObject *target = NULL;
            ours = ours && ((struct direct *)object)->sock;
            if (ours)
                lay_socket(item, (const struct direct *)object, list);
            else
                ours = lay_other(item, type, object, args[LISTS], list, &target);
            if (ours < 0 || (ours && item->host != host && PyList_Append(found, target ? target : object)))
                Py_CLEAR(found);
            else if (ours)
                host = item->host;
            Py_XDECREF(target);
        }
    }
    return found;
}

PyObject *select_scatter(PyObject *unused, PyObject *const *args, Py_ssize_t n)
{
    const struct wait_item *item;
    if (!are_lists(args, n, LISTS + 1) || !(item = items_at(args[LISTS])))
        return NULL;
    PyObject *all = PyTuple_New(LISTS);
    for (int list = 0; all && list < LISTS; list++) {
        PyObject *chosen = PyList_New(0);
        if (!chosen) {
            Py_CLEAR(all);
            break;
        }
        PyTuple_SET_ITEM(all, list, chosen);
        for (Py_ssize_t i = 0; all && i < PyList_GET_SIZE(args[list]); i++, item++) {
            if (item->revents & POLLNVAL) {
                Py_DECREF(all);
                Py_RETURN_NONE;
            }
            if (item->revents & ready[list] && PyList_Append(chosen, PyList_GET_ITEM(args[list], i)))
                Py_CLEAR(all);
        }
    }
    return all;
}
